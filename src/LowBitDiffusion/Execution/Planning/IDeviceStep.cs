using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Tuning;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>A step that has a form for a device. The same plan runs on either; what has no such form, or refuses, runs on the processor between two transfers.</summary>
internal interface IDeviceStep
{
    /// <summary>Why this step runs on the processor after all; null if it runs on the device.</summary>
    string? Refusal => null;

    /// <summary>Brings the weights that the step reads to the device; in place of <see cref="PlanStep.Load"/>.</summary>
    /// <param name="model">Weights, shared by all plans of a model.</param>
    /// <param name="tables">Memory that lives as long as the plan.</param>
    void Load(DeviceModel model, DeviceArena tables)
    {
    }

    /// <summary>Finds out how the step is fastest, unless that is known. Overwrites the step's memory.</summary>
    /// <param name="run">Where the step's memory is.</param>
    /// <param name="queue">A queue that notes times.</param>
    /// <param name="tuner">What is known.</param>
    /// <param name="cancellationToken">Checked between measurements.</param>
    void Tune(DeviceRun run, DeviceQueue queue, TileTuner tuner, CancellationToken cancellationToken)
    {
    }

    /// <summary>Hands the work to the device's queue. Does not wait.</summary>
    void Enqueue(DeviceRun run);
}

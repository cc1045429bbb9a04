using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Cli.Inspection;

/// <summary>Where the steps of a network's plan run.</summary>
/// <param name="Device">The device, or <c>cpu</c>.</param>
/// <param name="Reason">Why this one.</param>
/// <param name="Steps">Steps of the plan.</param>
/// <param name="OnHost">Those that run on the processor all the same.</param>
internal sealed record DevicePlacement(string Device, string Reason, int Steps, IReadOnlyList<HostStep> OnHost)
{
    /// <summary>Plans a network for a device; null where the processor was asked for.</summary>
    /// <exception cref="DeviceException">There is no such device.</exception>
    public static DevicePlacement? Of(NetworkFolder folder, string specification)
    {
        if (specification == ComputeDevice.Processor) return null;
        using ComputeDevice? device = ComputeDevice.Open(specification, out string reason);
        if (device is null) return new DevicePlacement(ComputeDevice.Processor, reason, 0, []);
        using PreparedModel model = new(folder.Network, folder.Weights, device: device);
        (IReadOnlyList<HostStep> onHost, int steps) = model.Placement(folder.Network.WholeInputs(1));
        return new DevicePlacement(device.ToString(), reason, steps, onHost);
    }
}

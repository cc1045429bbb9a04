using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Support;

/// <summary>Tests of plans and models on the device that is there, beside two threads of the processor.</summary>
public abstract class ModelDeviceFixture
{
    private protected ComputeDevice Device { get; private set; } = null!;

    private protected WorkerPool Pool { get; private set; } = null!;

    [OneTimeSetUp]
    public void Open() => (Device, Pool) = (TestDevice.OpenForModels(), new WorkerPool(2));

    [OneTimeTearDown]
    public void Close()
    {
        Device?.Dispose();
        Pool?.Dispose();
    }
}

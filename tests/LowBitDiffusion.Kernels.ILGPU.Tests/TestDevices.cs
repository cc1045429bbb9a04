using ILGPU.Runtime;
using LowBitDiffusion.Kernels.ILGPU.Devices;

namespace LowBitDiffusion.Kernels.ILGPU.Tests;

/// <summary>The devices that tests run on, opened once for all fixtures. Without an OpenCL, its tests are left out and say so.</summary>
[SetUpFixture]
public sealed class TestDevices
{
    private static readonly Dictionary<AcceleratorType, IlgpuDevice> s_open = [];

    internal static IlgpuContext Context { get; private set; } = null!;

    internal static IlgpuDevice Of(AcceleratorType type)
    {
        if (s_open.TryGetValue(type, out IlgpuDevice? device)) return device;
        if (Context.Devices.FirstOrDefault(one => one.AcceleratorType == type) is not { } found)
        {
            Assert.Ignore($"no {type} device to test on");
            throw new InvalidOperationException();
        }

        return s_open[type] = Context.Open(found);
    }

    [OneTimeSetUp]
    public void Find() => Context = new IlgpuContext();

    [OneTimeTearDown]
    public void Close()
    {
        foreach (IlgpuDevice device in s_open.Values) device.Dispose();
        Context.Dispose();
    }
}

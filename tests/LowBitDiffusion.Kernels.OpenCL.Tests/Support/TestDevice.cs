using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Programs;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Support;

/// <summary>The device that tests run on: the first of the machine. Without one, tests are left out and say why.</summary>
internal static class TestDevice
{
    private static readonly Lazy<(OpenClDevice? Device, string? Reason)> s_device = new(() =>
    {
        IReadOnlyList<OpenClDevice> devices = OpenClDevice.All(out string? reason);
        return devices.Count > 0 ? (devices[0], devices[0].Refusal) : (null, reason);
    });

    // Programs are built once a run, and nothing is left behind in the user's own cache.
    private static readonly DeviceCache s_cache = new(Path.Combine(Path.GetTempPath(), "lbd-opencl-tests"));

    /// <summary>The device.</summary>
    public static OpenClDevice Device
    {
        get
        {
            if (s_device.Value is { Device: { } device, Reason: null }) return device;
            Assert.Ignore($"no device to test on: {s_device.Value.Reason}");
            throw new InvalidOperationException();
        }
    }

    /// <summary>A context on it.</summary>
    public static OpenClContext Open() => new(Device, s_cache);

    /// <summary>The device as models use it.</summary>
    public static ComputeDevice OpenForModels() => ComputeDevice.Open(Device, s_cache);

    /// <summary>Kernels that every device has.</summary>
    public static KernelChoice Portable => KernelChoice.Portable(Device);
}

/// <summary>A context, a queue and memory for one fixture.</summary>
internal sealed class DeviceBench : IDisposable
{
    private readonly List<DeviceBuffer> _buffers = [];

    public DeviceBench(OpenClContext? context = null)
    {
        Context = context ?? TestDevice.Open();
        Queue = Context.CreateQueue();
        Arena = new DeviceArena(Context);
    }

    public OpenClContext Context { get; }

    public DeviceQueue Queue { get; }

    public DeviceArena Arena { get; }

    /// <summary>Memory of its own with these values.</summary>
    public DeviceSlice Of<T>(params ReadOnlySpan<T> values) where T : unmanaged
    {
        DeviceSlice slice = Room<T>(values.Length);
        Queue.Upload(slice, values);
        return slice;
    }

    /// <summary>As <see cref="Of"/>, or nowhere.</summary>
    public DeviceSlice OfOrNowhere(float[]? values) => values is null ? default : Of<float>(values);

    /// <summary>Memory of its own.</summary>
    public unsafe DeviceSlice Room<T>(int count) where T : unmanaged
    {
        DeviceBuffer buffer = Context.Allocate((long)Math.Max(count, 1) * sizeof(T));
        _buffers.Add(buffer);
        return buffer.At(0);
    }

    /// <summary>Frees what one case has taken.</summary>
    public void Clear()
    {
        Queue.Wait();
        foreach (DeviceBuffer buffer in _buffers) buffer.Dispose();
        _buffers.Clear();
    }

    public void Dispose()
    {
        Clear();
        Arena.Dispose();
        Queue.Dispose();
        Context.Dispose();
    }
}

using LowBitDiffusion.Kernels.OpenCL.Interop;
using LowBitDiffusion.Kernels.OpenCL.Programs;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>A device in use: its context and the programs built for it. Thread-safe; what is made in it must be disposed before it.</summary>
public sealed unsafe class OpenClContext : IDisposable
{
    private nint _handle;

    /// <summary>Opens a device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="cache">Where built programs and what was learned about the device are kept; null for nowhere.</param>
    /// <exception cref="OpenClException">The driver refuses.</exception>
    public OpenClContext(OpenClDevice device, DeviceCache? cache = null)
    {
        Device = device;
        Cache = cache;
        int error;
        _handle = device.Api.CreateContext(device.Id, &error);
        OpenClException.Check(error, "clCreateContext", device.ToString());
        Programs = new ProgramLibrary(this);
    }

    /// <summary>The device.</summary>
    public OpenClDevice Device { get; }

    /// <summary>Where built programs are kept.</summary>
    public DeviceCache? Cache { get; }

    /// <summary>Its programs.</summary>
    internal ProgramLibrary Programs { get; }

    internal IOpenCl Api => Device.Api;

    internal nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _handle;
        }
    }

    /// <summary>Memory on the device.</summary>
    /// <exception cref="OpenClException">There is none left, or the driver allows no buffer of this length.</exception>
    public DeviceBuffer Allocate(long bytes) => new(this, bytes);

    /// <summary>A queue with kernels of its own, for one thread at a time.</summary>
    /// <param name="profile">Whether the device notes when a kernel begins and ends.</param>
    /// <param name="values">How its kernels find and leave values in memory.</param>
    /// <param name="inOrder">Whether everything waits for what was handed over before; else only for what <see cref="DeviceQueue.Begin"/> says.</param>
    public DeviceQueue CreateQueue(bool profile = false, ValueStorage values = ValueStorage.Single, bool inOrder = true) => new(this, profile, values, inOrder);

    /// <inheritdoc/>
    public void Dispose()
    {
        nint handle = Interlocked.Exchange(ref _handle, 0);
        if (handle == 0) return;
        Programs.Dispose();
        Api.ReleaseContext(handle);
    }
}

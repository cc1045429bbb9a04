using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>Memory on the device, with <see cref="Slack"/> bytes behind its end that kernels may read.</summary>
public sealed unsafe class DeviceBuffer : IDisposable
{
    /// <summary>Bytes behind the end that may be read.</summary>
    public const int Slack = 64;

    private readonly OpenClContext _context;
    private nint _handle;

    internal DeviceBuffer(OpenClContext context, long bytes)
    {
        (_context, Bytes) = (context, bytes);
        if (bytes + Slack > context.Device.MaxBufferBytes)
            throw new OpenClException("clCreateBuffer", ClCode.MemObjectAllocationFailure, $"{bytes} bytes were asked for, {context.Device} has buffers of at most {context.Device.MaxBufferBytes}");
        int error;
        _handle = context.Api.CreateBuffer(context.Handle, ClCode.MemReadWrite, (nuint)(bytes + Slack), null, &error);
        OpenClException.Check(error, "clCreateBuffer", $"{bytes} bytes on {context.Device}");
    }

    /// <summary>Length without the slack.</summary>
    public long Bytes { get; }

    internal nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _handle;
        }
    }

    /// <summary>A place in it.</summary>
    public DeviceSlice At(long offset) => new(this, offset);

    /// <inheritdoc/>
    public void Dispose()
    {
        nint handle = Interlocked.Exchange(ref _handle, 0);
        if (handle != 0) _context.Api.ReleaseMemObject(handle);
    }
}

/// <summary>A place in a buffer; the default is nowhere, which kernels see as null.</summary>
/// <param name="Buffer">The buffer.</param>
/// <param name="Offset">Bytes from its beginning.</param>
public readonly record struct DeviceSlice(DeviceBuffer? Buffer, long Offset)
{
    /// <summary>The place so many bytes on.</summary>
    public DeviceSlice Skip(long bytes) => this with { Offset = Offset + bytes };
}

/// <summary>
/// Memory on the device that is only handed out and freed as a whole: weights, tables. It grows by blocks, each as long as all before it up to a bound, so that no buffer is longer than the driver
/// allows unless one thing is.
/// </summary>
public sealed class DeviceArena(OpenClContext context) : IDisposable
{
    private const long LeastBlock = 256 << 10;
    private const long MostBlock = 64L << 20;
    private const int Alignment = 64;

    private readonly List<DeviceBuffer> _blocks = [];
    private readonly Lock _lock = new();
    private long _used;

    /// <summary>Bytes held.</summary>
    public long Bytes
    {
        get
        {
            lock (_lock) return _blocks.Sum(block => block.Bytes);
        }
    }

    /// <summary>Room for something.</summary>
    public DeviceSlice Take(long bytes)
    {
        long padded = (bytes + Alignment - 1) / Alignment * Alignment;
        lock (_lock)
        {
            if (_blocks.Count == 0 || _used + padded > _blocks[^1].Bytes)
            {
                _blocks.Add(context.Allocate(Math.Max(padded, Math.Clamp(_blocks.Sum(block => block.Bytes), LeastBlock, MostBlock))));
                _used = 0;
            }

            DeviceSlice slice = _blocks[^1].At(_used);
            _used += padded;
            return slice;
        }
    }

    /// <summary>Brings something to the device: it is there for what is handed to the same queue later, and for others once the queue has been waited for.</summary>
    public unsafe DeviceSlice Put<T>(DeviceQueue queue, ReadOnlySpan<T> values) where T : unmanaged
    {
        DeviceSlice slice = Take((long)values.Length * sizeof(T));
        queue.Stage(slice, values);
        return slice;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (DeviceBuffer block in _blocks) block.Dispose();
            _blocks.Clear();
        }
    }
}

using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>What a queue has done.</summary>
/// <param name="Launches">Kernels started.</param>
/// <param name="BytesUp">Bytes from the host to the device.</param>
/// <param name="BytesDown">Bytes from the device to the host.</param>
/// <param name="Waits">Times that the host waited for the device.</param>
public readonly record struct QueueStatistics(long Launches, long BytesUp, long BytesDown, long Waits)
{
    /// <summary>What was done since an earlier moment.</summary>
    public QueueStatistics Since(QueueStatistics earlier) => new(Launches - earlier.Launches, BytesUp - earlier.BytesUp, BytesDown - earlier.BytesDown, Waits - earlier.Waits);
}

/// <summary>Time of one kernel on the device.</summary>
/// <param name="Kernel">Its name.</param>
/// <param name="Calls">Calls.</param>
/// <param name="Total">Time of all calls.</param>
public sealed record KernelTime(string Kernel, int Calls, TimeSpan Total);

/// <summary>
/// A queue with kernels of its own, for one thread at a time. Work is handed over without waiting; at most some launches are under way, so that whoever stops handing over soon finds the
/// queue empty. Waiting is sleeping until the driver calls back.
/// <code>
///   in order        every command waits for the one before
///   out of order    Begin(step, after): the step's first command waits for the last ones of the steps named, each further one for the step's last
/// </code>
/// </summary>
public sealed unsafe class DeviceQueue : IDisposable
{
    /// <summary>Launches between two markers; at most two such stretches are under way.</summary>
    private const int Stretch = 64;

    private readonly OpenClContext _context;
    private readonly bool _profile;
    private readonly bool _inOrder;
    private readonly Dictionary<(string Family, string Options, string Name), Kernel> _kernels = [];
    private readonly List<(string? Kernel, nint Event)> _events = [];
    private readonly Dictionary<int, nint> _lastOfStep = [];
    private readonly List<nint> _before = [];
    private int _step;
    private nint _handle;
    private PinnedBuffer? _pinned;
    private int _staged;
    private EventCompletion? _marker;
    private int _sinceMarker;
    private QueueStatistics _statistics;

    internal DeviceQueue(OpenClContext context, bool profile, ValueStorage values, bool inOrder)
    {
        (_context, _profile, _inOrder, Values) = (context, profile, inOrder, values);
        int error;
        _handle = context.Api.CreateCommandQueue(context.Handle, context.Device.Id, (profile ? ClCode.QueueProfiling : 0) | (inOrder ? 0 : ClCode.QueueOutOfOrder), &error);
        OpenClException.Check(error, "clCreateCommandQueue", context.Device.ToString());
    }

    /// <summary>The device's context.</summary>
    public OpenClContext Context => _context;

    /// <summary>How its kernels find and leave values in memory.</summary>
    public ValueStorage Values { get; }

    /// <summary>What has been done so far.</summary>
    public QueueStatistics Statistics => _statistics;

    private IOpenCl Api => _context.Api;

    /// <summary>Begins a step, whose first command waits for no others than these; nothing in a queue that is in order. A number stands for one step between two calls of <see cref="Wait"/>.</summary>
    /// <param name="step">The step's number.</param>
    /// <param name="after">The steps that it waits for; those before the last <see cref="Wait"/> are done.</param>
    public void Begin(int step, ReadOnlySpan<int> after)
    {
        if (_inOrder) return;
        _step = step;
        _before.Clear();
        foreach (int earlier in after)
        {
            if (_lastOfStep.TryGetValue(earlier, out nint last)) _before.Add(last);
        }
    }

    /// <summary>Begins a call of a kernel: the caller adds the arguments in order and runs it.</summary>
    /// <param name="family">The source file.</param>
    /// <param name="options">Macros that it is built with.</param>
    /// <param name="name">The kernel.</param>
    /// <exception cref="OpenClException">It cannot be built; the message holds the compiler's log.</exception>
    internal KernelCall Call(string family, string options, string name)
    {
        if (!_kernels.TryGetValue((family, options, name), out Kernel? kernel))
        {
            kernel = _context.Programs.CreateKernel(family, Values == ValueStorage.Half ? $"{options} -DHALVES" : options, name);
            _kernels.Add((family, options, name), kernel);
        }

        return new KernelCall(this, kernel);
    }

    /// <summary>Copies to the device; the source must stay as it is until the next <see cref="Wait"/>.</summary>
    public void Write(DeviceSlice destination, void* source, long bytes)
    {
        if (bytes == 0) return;
        nint completed = 0;
        fixed (nint* before = CollectionsMarshal.AsSpan(_before))
        {
            int code = Api.EnqueueWriteBuffer(_handle, destination.Buffer!.Handle, (nuint)destination.Offset, (nuint)bytes, source, (uint)_before.Count, before, _inOrder ? null : &completed);
            OpenClException.Check(code, "clEnqueueWriteBuffer", $"{bytes} bytes");
        }

        HandedOver(null, completed);
        _statistics = _statistics with { BytesUp = _statistics.BytesUp + bytes };
    }

    /// <summary>Copies to the device by way of pinned memory: the source may be let go, and arrays that fit in there one behind the other wait for each other at the next <see cref="Wait"/> only.</summary>
    public void Stage<T>(DeviceSlice destination, ReadOnlySpan<T> source) where T : unmanaged
    {
        const int Alignment = 64;
        _pinned ??= new PinnedBuffer(_context, _handle);
        ReadOnlySpan<byte> left = MemoryMarshal.AsBytes(source);
        while (left.Length > 0)
        {
            if (_staged >= PinnedBuffer.Bytes) Wait();
            ReadOnlySpan<byte> piece = left[..Math.Min(left.Length, PinnedBuffer.Bytes - _staged)];
            piece.CopyTo(new Span<byte>(_pinned.At(_staged), piece.Length));
            Write(destination, _pinned.At(_staged), piece.Length);
            _staged += (piece.Length + Alignment - 1) / Alignment * Alignment;
            left = left[piece.Length..];
            destination = destination.Skip(piece.Length);
        }
    }

    /// <summary>Copies to the device and waits.</summary>
    public void Upload<T>(DeviceSlice destination, ReadOnlySpan<T> source) where T : unmanaged
    {
        fixed (T* first = source)
        {
            try
            {
                Write(destination, first, (long)source.Length * sizeof(T));
            }
            finally
            {
                Wait();
            }
        }
    }

    /// <summary>Copies from the device; the destination is filled at the next <see cref="Wait"/>.</summary>
    public void Read(DeviceSlice source, void* destination, long bytes)
    {
        if (bytes == 0) return;
        nint completed = 0;
        fixed (nint* before = CollectionsMarshal.AsSpan(_before))
        {
            int code = Api.EnqueueReadBuffer(_handle, source.Buffer!.Handle, (nuint)source.Offset, (nuint)bytes, destination, (uint)_before.Count, before, _inOrder ? null : &completed);
            OpenClException.Check(code, "clEnqueueReadBuffer", $"{bytes} bytes");
        }

        HandedOver(null, completed);
        _statistics = _statistics with { BytesDown = _statistics.BytesDown + bytes };
    }

    /// <summary>Copies from the device and waits.</summary>
    public T[] Download<T>(DeviceSlice source, int count) where T : unmanaged
    {
        T[] values = new T[count];
        fixed (T* first = values)
        {
            try
            {
                Read(source, first, (long)count * sizeof(T));
            }
            finally
            {
                Wait();
            }
        }

        return values;
    }

    /// <summary>Sleeps until everything handed over is done. Nothing is under way afterwards, not even where this fails: the host's memory may be let go.</summary>
    /// <exception cref="OpenClException">Something has failed on the device.</exception>
    public void Wait()
    {
        DropMarker();
        try
        {
            Await(Mark());
        }
        catch (OpenClException)
        {
            Api.Finish(_handle);
            throw;
        }
        finally
        {
            _staged = 0;
            _lastOfStep.Clear();
            _before.Clear();
            if (!_profile) ReleaseEvents();
        }
    }

    /// <summary>Times of kernels since the last call; a queue that does not profile has none. Waits first.</summary>
    public IReadOnlyList<KernelTime> TakeKernelTimes()
    {
        Wait();
        Dictionary<string, (int Calls, ulong Nanoseconds)> times = [];
        foreach ((string? kernel, nint profiled) in _events)
        {
            if (kernel is null) continue;
            ulong start, end;
            OpenClException.Check(Api.GetEventProfilingInfo(profiled, ClCode.ProfilingStart, &start), "clGetEventProfilingInfo");
            OpenClException.Check(Api.GetEventProfilingInfo(profiled, ClCode.ProfilingEnd, &end), "clGetEventProfilingInfo");
            (int calls, ulong sum) = times.GetValueOrDefault(kernel);
            times[kernel] = (calls + 1, sum + end - start);
        }

        ReleaseEvents();
        return [.. times.Select(t => new KernelTime(t.Key, t.Value.Calls, TimeSpan.FromTicks((long)(t.Value.Nanoseconds / 100)))).OrderByDescending(t => t.Total)];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        nint handle = Interlocked.Exchange(ref _handle, 0);
        if (handle == 0) return;
        Api.Finish(handle);
        DropMarker();
        ReleaseEvents();
        _pinned?.Dispose();
        foreach (Kernel kernel in _kernels.Values) kernel.Dispose();
        Api.ReleaseCommandQueue(handle);
    }

    internal void Launch(Kernel kernel, ReadOnlySpan<nuint> global, ReadOnlySpan<nuint> local)
    {
        nint completed = 0;
        fixed (nuint* g = global, l = local)
        fixed (nint* before = CollectionsMarshal.AsSpan(_before))
        {
            int code = Api.EnqueueNDRangeKernel(_handle, kernel.Handle, (uint)global.Length, g, l, (uint)_before.Count, before, _profile || !_inOrder ? &completed : null);
            OpenClException.Check(code, "clEnqueueNDRangeKernel", kernel.Name);
        }

        HandedOver(kernel.Name, completed);
        _statistics = _statistics with { Launches = _statistics.Launches + 1 };
        if (++_sinceMarker < Stretch) return;
        _sinceMarker = 0;
        EventCompletion? last = _marker;
        _marker = null;
        if (last is not null) Await(last);
        _marker = Mark();
    }

    // Takes a command's event over, if it has one.
    private void HandedOver(string? kernel, nint completed)
    {
        if (completed == 0) return;
        _events.Add((kernel, completed));
        if (_inOrder) return;
        _lastOfStep[_step] = completed;
        _before.Clear();
        _before.Add(completed);
    }

    private EventCompletion Mark()
    {
        nint all;
        OpenClException.Check(Api.EnqueueMarker(_handle, &all), "clEnqueueMarkerWithWaitList");
        return new EventCompletion(Api, all);
    }

    // Takes the marker over.
    private void Await(EventCompletion marker)
    {
        _statistics = _statistics with { Waits = _statistics.Waits + 1 };
        using (marker)
        {
            OpenClException.Check(Api.Flush(_handle), "clFlush");
            marker.Wait();
        }
    }

    private void DropMarker()
    {
        _marker?.Dispose();
        (_marker, _sinceMarker) = (null, 0);
    }

    private void ReleaseEvents()
    {
        foreach ((_, nint profiled) in _events) Api.ReleaseEvent(profiled);
        _events.Clear();
    }
}

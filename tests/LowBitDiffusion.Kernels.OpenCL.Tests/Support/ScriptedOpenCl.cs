using System.Text;
using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Support;

/// <summary>The machine's OpenCL with a test in between: it counts the objects that are alive, lets chosen calls fail, and may tell a device's properties and change sources.</summary>
internal sealed unsafe class ScriptedOpenCl(IOpenCl real) : IOpenCl
{
    private const uint Extensions = 0x1030, QueueKinds = 0x102A;

    private readonly HashSet<(string Kind, nint Handle)> _live = [];
    private readonly Dictionary<string, int> _calls = [];

    /// <summary>Calls that fail: name, which one of them, and code.</summary>
    public IReadOnlyList<(string Call, int Number, int Code)> Failures { get; set; } = [];

    /// <summary>Calls so far, by name.</summary>
    public IReadOnlyDictionary<string, int> Calls => _calls;

    /// <summary>Objects made and not released, by kind.</summary>
    public IReadOnlyDictionary<string, int> Live => _live.GroupBy(o => o.Kind).ToDictionary(g => g.Key, g => g.Count());

    /// <summary>Extensions that the device is said to have besides its own; null leaves them as they are.</summary>
    public string? MoreExtensions { get; set; }

    /// <summary>Kinds of queues that the device is said to have; null leaves them as they are.</summary>
    public ulong? QueueProperties { get; set; }

    /// <summary>Changes sources before they are compiled.</summary>
    public Func<string, string> Source { get; set; } = text => text;

    /// <summary>The machine's OpenCL; without one the test is left out.</summary>
    public static ScriptedOpenCl Create()
    {
        _ = TestDevice.Device;
        return new ScriptedOpenCl(NativeOpenCl.Load(out _)!);
    }

    public void Forget() => _calls.Clear();

    public int GetPlatformIds(uint entries, nint* platforms, uint* count) => Fails("clGetPlatformIDs") ?? real.GetPlatformIds(entries, platforms, count);

    public int GetPlatformInfo(nint platform, uint name, nuint size, void* value, nuint* needed) => Fails("clGetPlatformInfo") ?? real.GetPlatformInfo(platform, name, size, value, needed);

    public int GetDeviceIds(nint platform, ulong type, uint entries, nint* devices, uint* count) => Fails("clGetDeviceIDs") ?? real.GetDeviceIds(platform, type, entries, devices, count);

    public int GetDeviceInfo(nint device, uint name, nuint size, void* value, nuint* needed)
    {
        if (Fails("clGetDeviceInfo") is { } code) return code;
        if (name == QueueKinds && QueueProperties is { } kinds)
        {
            *(ulong*)value = kinds;
            return 0;
        }

        if (name != Extensions || MoreExtensions is null) return real.GetDeviceInfo(device, name, size, value, needed);
        nuint length;
        real.GetDeviceInfo(device, name, 0, null, &length);
        byte[] own = new byte[length];
        fixed (byte* first = own) real.GetDeviceInfo(device, name, length, first, null);
        byte[] told = Encoding.UTF8.GetBytes($"{Encoding.UTF8.GetString(own).TrimEnd('\0')} {MoreExtensions}\0");
        if (needed != null) *needed = (nuint)told.Length;
        if (value != null) told.AsSpan(0, Math.Min(told.Length, (int)size)).CopyTo(new Span<byte>(value, (int)size));
        return 0;
    }

    public nint CreateContext(nint device, int* error) => Made("context", "clCreateContext", error, () => real.CreateContext(device, error));

    public int ReleaseContext(nint context) => Released("context", "clReleaseContext", context, real.ReleaseContext(context));

    public nint CreateCommandQueue(nint context, nint device, ulong properties, int* error) =>
        Made("queue", "clCreateCommandQueue", error, () => real.CreateCommandQueue(context, device, properties, error));

    public int ReleaseCommandQueue(nint queue) => Released("queue", "clReleaseCommandQueue", queue, real.ReleaseCommandQueue(queue));

    public nint CreateBuffer(nint context, ulong flags, nuint size, void* host, int* error) => Made("buffer", "clCreateBuffer", error, () => real.CreateBuffer(context, flags, size, host, error));

    public int ReleaseMemObject(nint memory) => Released("buffer", "clReleaseMemObject", memory, real.ReleaseMemObject(memory));

    public nint CreateProgramWithSource(nint context, byte* source, nuint length, int* error)
    {
        byte[] text = Encoding.UTF8.GetBytes(Source(Encoding.UTF8.GetString(source, (int)length)));
        fixed (byte* first = text)
        {
            byte* place = first;
            return Made("program", "clCreateProgramWithSource", error, () => real.CreateProgramWithSource(context, place, (nuint)text.Length, error));
        }
    }

    public nint CreateProgramWithBinary(nint context, nint device, byte* binary, nuint length, int* status, int* error) =>
        Made("program", "clCreateProgramWithBinary", error, () => real.CreateProgramWithBinary(context, device, binary, length, status, error));

    public int BuildProgram(nint program, nint device, byte* options) => Fails("clBuildProgram") ?? real.BuildProgram(program, device, options);

    public int GetProgramBuildInfo(nint program, nint device, uint name, nuint size, void* value, nuint* needed) =>
        Fails("clGetProgramBuildInfo") ?? real.GetProgramBuildInfo(program, device, name, size, value, needed);

    public int GetProgramInfo(nint program, uint name, nuint size, void* value, nuint* needed) => Fails("clGetProgramInfo") ?? real.GetProgramInfo(program, name, size, value, needed);

    public int ReleaseProgram(nint program) => Released("program", "clReleaseProgram", program, real.ReleaseProgram(program));

    public nint CreateKernel(nint program, byte* name, int* error) => Made("kernel", "clCreateKernel", error, () => real.CreateKernel(program, name, error));

    public int ReleaseKernel(nint kernel) => Released("kernel", "clReleaseKernel", kernel, real.ReleaseKernel(kernel));

    public int SetKernelArg(nint kernel, uint index, nuint size, void* value) => Fails("clSetKernelArg") ?? real.SetKernelArg(kernel, index, size, value);

    public int EnqueueNDRangeKernel(nint queue, nint kernel, uint dimensions, nuint* global, nuint* local, uint waits, nint* waitList, nint* completed) =>
        Fails("clEnqueueNDRangeKernel") ?? Event(real.EnqueueNDRangeKernel(queue, kernel, dimensions, global, local, waits, waitList, completed), completed);

    public int EnqueueWriteBuffer(nint queue, nint buffer, nuint offset, nuint size, void* source, uint waits, nint* waitList, nint* completed) =>
        Fails("clEnqueueWriteBuffer") ?? Event(real.EnqueueWriteBuffer(queue, buffer, offset, size, source, waits, waitList, completed), completed);

    public int EnqueueReadBuffer(nint queue, nint buffer, nuint offset, nuint size, void* destination, uint waits, nint* waitList, nint* completed) =>
        Fails("clEnqueueReadBuffer") ?? Event(real.EnqueueReadBuffer(queue, buffer, offset, size, destination, waits, waitList, completed), completed);

    public void* EnqueueMapBuffer(nint queue, nint buffer, ulong flags, nuint offset, nuint size, int* error)
    {
        if (Fails("clEnqueueMapBuffer") is not { } code) return real.EnqueueMapBuffer(queue, buffer, flags, offset, size, error);
        *error = code;
        return null;
    }

    public int EnqueueUnmapMemObject(nint queue, nint memory, void* mapped) => Fails("clEnqueueUnmapMemObject", real.EnqueueUnmapMemObject(queue, memory, mapped));

    public int Flush(nint queue) => Fails("clFlush") ?? real.Flush(queue);

    public int Finish(nint queue) => Fails("clFinish", real.Finish(queue));

    public int EnqueueMarker(nint queue, nint* completed) => Fails("clEnqueueMarkerWithWaitList") ?? Event(real.EnqueueMarker(queue, completed), completed);

    public int SetEventCallback(nint waited, delegate* unmanaged<nint, int, nint, void> callback, nint state) => Fails("clSetEventCallback") ?? real.SetEventCallback(waited, callback, state);

    public int GetEventProfilingInfo(nint profiled, uint name, ulong* nanoseconds) => Fails("clGetEventProfilingInfo") ?? real.GetEventProfilingInfo(profiled, name, nanoseconds);

    public int ReleaseEvent(nint released) => Released("event", "clReleaseEvent", released, real.ReleaseEvent(released));

    private int? Fails(string call)
    {
        lock (_live)
        {
            int number = _calls[call] = _calls.GetValueOrDefault(call) + 1;
            foreach ((string failing, int which, int code) in Failures)
            {
                if (failing == call && which == number) return code;
            }

            return null;
        }
    }

    // A call that does its work and then says that it failed.
    private int Fails(string call, int code) => Fails(call) ?? code;

    private nint Made(string kind, string call, int* error, Func<nint> create)
    {
        if (Fails(call) is { } code)
        {
            *error = code;
            return 0;
        }

        nint handle = create();
        if (handle != 0) Remember(kind, handle);
        return handle;
    }

    private int Event(int code, nint* completed)
    {
        if (code == 0 && completed != null) Remember("event", *completed);
        return code;
    }

    private void Remember(string kind, nint handle)
    {
        lock (_live) Assert.That(_live.Add((kind, handle)), $"a {kind} that is alive was made again");
    }

    // What is released is gone, even where the driver says that it failed.
    private int Released(string kind, string call, nint handle, int code)
    {
        lock (_live) Assert.That(_live.Remove((kind, handle)), $"a {kind} was released that was not alive");
        return Fails(call, code);
    }
}

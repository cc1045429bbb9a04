using System.Runtime.InteropServices;

namespace LowBitDiffusion.Kernels.OpenCL.Interop;

/// <summary>The system's OpenCL. No OpenCL is a normal state of a machine: <see cref="Load"/> says why instead of throwing.</summary>
public sealed unsafe class NativeOpenCl : IOpenCl
{
    private static readonly string[] s_names =
        OperatingSystem.IsWindows() ? ["OpenCL.dll"] : OperatingSystem.IsMacOS() ? ["/System/Library/Frameworks/OpenCL.framework/OpenCL"] : ["libOpenCL.so.1", "libOpenCL.so"];

    private static readonly Lazy<(NativeOpenCl? Api, string? Reason)> s_loaded = new(Find);

    private readonly nint _library;
    private readonly Dictionary<string, nint> _entries = [];

    private NativeOpenCl(nint library) => _library = library;

    /// <summary>The library's entry points, or null and the reason.</summary>
    public static NativeOpenCl? Load(out string? reason)
    {
        (NativeOpenCl? api, reason) = s_loaded.Value;
        return api;
    }

    /// <inheritdoc/>
    public int GetPlatformIds(uint entries, nint* platforms, uint* count) => ((delegate* unmanaged<uint, nint*, uint*, int>)Entry("clGetPlatformIDs"))(entries, platforms, count);

    /// <inheritdoc/>
    public int GetPlatformInfo(nint platform, uint name, nuint size, void* value, nuint* needed) => Info("clGetPlatformInfo", platform, name, size, value, needed);

    /// <inheritdoc/>
    public int GetDeviceIds(nint platform, ulong type, uint entries, nint* devices, uint* count) =>
        ((delegate* unmanaged<nint, ulong, uint, nint*, uint*, int>)Entry("clGetDeviceIDs"))(platform, type, entries, devices, count);

    /// <inheritdoc/>
    public int GetDeviceInfo(nint device, uint name, nuint size, void* value, nuint* needed) => Info("clGetDeviceInfo", device, name, size, value, needed);

    /// <inheritdoc/>
    public nint CreateContext(nint device, int* error) =>
        ((delegate* unmanaged<nint*, uint, nint*, void*, void*, int*, nint>)Entry("clCreateContext"))(null, 1, &device, null, null, error);

    /// <inheritdoc/>
    public int ReleaseContext(nint context) => One("clReleaseContext", context);

    /// <inheritdoc/>
    public nint CreateCommandQueue(nint context, nint device, ulong properties, int* error) =>
        ((delegate* unmanaged<nint, nint, ulong, int*, nint>)Entry("clCreateCommandQueue"))(context, device, properties, error);

    /// <inheritdoc/>
    public int ReleaseCommandQueue(nint queue) => One("clReleaseCommandQueue", queue);

    /// <inheritdoc/>
    public nint CreateBuffer(nint context, ulong flags, nuint size, void* host, int* error) =>
        ((delegate* unmanaged<nint, ulong, nuint, void*, int*, nint>)Entry("clCreateBuffer"))(context, flags, size, host, error);

    /// <inheritdoc/>
    public int ReleaseMemObject(nint memory) => One("clReleaseMemObject", memory);

    /// <inheritdoc/>
    public nint CreateProgramWithSource(nint context, byte* source, nuint length, int* error) =>
        ((delegate* unmanaged<nint, uint, byte**, nuint*, int*, nint>)Entry("clCreateProgramWithSource"))(context, 1, &source, &length, error);

    /// <inheritdoc/>
    public nint CreateProgramWithBinary(nint context, nint device, byte* binary, nuint length, int* status, int* error) =>
        ((delegate* unmanaged<nint, uint, nint*, nuint*, byte**, int*, int*, nint>)Entry("clCreateProgramWithBinary"))(context, 1, &device, &length, &binary, status, error);

    /// <inheritdoc/>
    public int BuildProgram(nint program, nint device, byte* options) =>
        ((delegate* unmanaged<nint, uint, nint*, byte*, void*, void*, int>)Entry("clBuildProgram"))(program, 1, &device, options, null, null);

    /// <inheritdoc/>
    public int GetProgramBuildInfo(nint program, nint device, uint name, nuint size, void* value, nuint* needed) =>
        ((delegate* unmanaged<nint, nint, uint, nuint, void*, nuint*, int>)Entry("clGetProgramBuildInfo"))(program, device, name, size, value, needed);

    /// <inheritdoc/>
    public int GetProgramInfo(nint program, uint name, nuint size, void* value, nuint* needed) => Info("clGetProgramInfo", program, name, size, value, needed);

    /// <inheritdoc/>
    public int ReleaseProgram(nint program) => One("clReleaseProgram", program);

    /// <inheritdoc/>
    public nint CreateKernel(nint program, byte* name, int* error) => ((delegate* unmanaged<nint, byte*, int*, nint>)Entry("clCreateKernel"))(program, name, error);

    /// <inheritdoc/>
    public int ReleaseKernel(nint kernel) => One("clReleaseKernel", kernel);

    /// <inheritdoc/>
    public int SetKernelArg(nint kernel, uint index, nuint size, void* value) => ((delegate* unmanaged<nint, uint, nuint, void*, int>)Entry("clSetKernelArg"))(kernel, index, size, value);

    /// <inheritdoc/>
    public int EnqueueNDRangeKernel(nint queue, nint kernel, uint dimensions, nuint* global, nuint* local, uint waits, nint* waitList, nint* completed) =>
        ((delegate* unmanaged<nint, nint, uint, nuint*, nuint*, nuint*, uint, nint*, nint*, int>)Entry("clEnqueueNDRangeKernel"))(queue, kernel, dimensions, null, global, local, waits, waitList, completed);

    /// <inheritdoc/>
    public int EnqueueWriteBuffer(nint queue, nint buffer, nuint offset, nuint size, void* source, uint waits, nint* waitList, nint* completed) =>
        Transfer("clEnqueueWriteBuffer", queue, buffer, offset, size, source, waits, waitList, completed);

    /// <inheritdoc/>
    public int EnqueueReadBuffer(nint queue, nint buffer, nuint offset, nuint size, void* destination, uint waits, nint* waitList, nint* completed) =>
        Transfer("clEnqueueReadBuffer", queue, buffer, offset, size, destination, waits, waitList, completed);

    /// <inheritdoc/>
    public void* EnqueueMapBuffer(nint queue, nint buffer, ulong flags, nuint offset, nuint size, int* error) =>
        ((delegate* unmanaged<nint, nint, uint, ulong, nuint, nuint, uint, nint*, nint*, int*, void*>)Entry("clEnqueueMapBuffer"))(queue, buffer, 1, flags, offset, size, 0, null, null, error);

    /// <inheritdoc/>
    public int EnqueueUnmapMemObject(nint queue, nint memory, void* mapped) =>
        ((delegate* unmanaged<nint, nint, void*, uint, nint*, nint*, int>)Entry("clEnqueueUnmapMemObject"))(queue, memory, mapped, 0, null, null);

    /// <inheritdoc/>
    public int Flush(nint queue) => One("clFlush", queue);

    /// <inheritdoc/>
    public int Finish(nint queue) => One("clFinish", queue);

    /// <inheritdoc/>
    public int EnqueueMarker(nint queue, nint* completed) => ((delegate* unmanaged<nint, uint, nint*, nint*, int>)Entry("clEnqueueMarkerWithWaitList"))(queue, 0, null, completed);

    /// <inheritdoc/>
    public int SetEventCallback(nint waited, delegate* unmanaged<nint, int, nint, void> callback, nint state) =>
        ((delegate* unmanaged<nint, int, delegate* unmanaged<nint, int, nint, void>, nint, int>)Entry("clSetEventCallback"))(waited, ClCode.Complete, callback, state);

    /// <inheritdoc/>
    public int GetEventProfilingInfo(nint profiled, uint name, ulong* nanoseconds) => Info("clGetEventProfilingInfo", profiled, name, sizeof(ulong), nanoseconds, null);

    /// <inheritdoc/>
    public int ReleaseEvent(nint released) => One("clReleaseEvent", released);

    private static (NativeOpenCl?, string?) Find()
    {
        foreach (string name in s_names)
        {
            if (!NativeLibrary.TryLoad(name, out nint library)) continue;
            if (NativeLibrary.TryGetExport(library, "clGetPlatformIDs", out _)) return (new NativeOpenCl(library), null);
            return (null, $"{name} has no clGetPlatformIDs");
        }

        return (null, $"no OpenCL is installed: {string.Join(" and ", s_names)} cannot be loaded");
    }

    private int Info(string entry, nint subject, uint name, nuint size, void* value, nuint* needed) =>
        ((delegate* unmanaged<nint, uint, nuint, void*, nuint*, int>)Entry(entry))(subject, name, size, value, needed);

    private int One(string entry, nint subject) => ((delegate* unmanaged<nint, int>)Entry(entry))(subject);

    private int Transfer(string entry, nint queue, nint buffer, nuint offset, nuint size, void* host, uint waits, nint* waitList, nint* completed) =>
        ((delegate* unmanaged<nint, nint, uint, nuint, nuint, void*, uint, nint*, nint*, int>)Entry(entry))(queue, buffer, 0, offset, size, host, waits, waitList, completed);

    // An entry that an old library lacks is an error of the call that needs it.
    private nint Entry(string name)
    {
        lock (_entries)
        {
            if (_entries.TryGetValue(name, out nint address)) return address;
            if (!NativeLibrary.TryGetExport(_library, name, out address)) throw new OpenClException(name, ClCode.InvalidOperation, "the installed OpenCL has no such function; 1.2 is needed");
            _entries.Add(name, address);
            return address;
        }
    }
}

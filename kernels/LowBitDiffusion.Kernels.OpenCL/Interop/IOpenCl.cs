namespace LowBitDiffusion.Kernels.OpenCL.Interop;

/// <summary>
/// The entry points of OpenCL that this library calls, one method each, arguments as the specification has them; the result is the error code, or the object with the code behind the last pointer.
/// Tests put themselves in between to count objects and to let any call fail.
/// </summary>
public unsafe interface IOpenCl
{
    /// <summary><c>clGetPlatformIDs</c>.</summary>
    int GetPlatformIds(uint entries, nint* platforms, uint* count);

    /// <summary><c>clGetPlatformInfo</c>.</summary>
    int GetPlatformInfo(nint platform, uint name, nuint size, void* value, nuint* needed);

    /// <summary><c>clGetDeviceIDs</c>.</summary>
    int GetDeviceIds(nint platform, ulong type, uint entries, nint* devices, uint* count);

    /// <summary><c>clGetDeviceInfo</c>.</summary>
    int GetDeviceInfo(nint device, uint name, nuint size, void* value, nuint* needed);

    /// <summary><c>clCreateContext</c> for one device.</summary>
    nint CreateContext(nint device, int* error);

    /// <summary><c>clReleaseContext</c>.</summary>
    int ReleaseContext(nint context);

    /// <summary><c>clCreateCommandQueue</c>.</summary>
    nint CreateCommandQueue(nint context, nint device, ulong properties, int* error);

    /// <summary><c>clReleaseCommandQueue</c>.</summary>
    int ReleaseCommandQueue(nint queue);

    /// <summary><c>clCreateBuffer</c>.</summary>
    nint CreateBuffer(nint context, ulong flags, nuint size, void* host, int* error);

    /// <summary><c>clReleaseMemObject</c>.</summary>
    int ReleaseMemObject(nint memory);

    /// <summary><c>clCreateProgramWithSource</c> of one string.</summary>
    nint CreateProgramWithSource(nint context, byte* source, nuint length, int* error);

    /// <summary><c>clCreateProgramWithBinary</c> for one device.</summary>
    nint CreateProgramWithBinary(nint context, nint device, byte* binary, nuint length, int* status, int* error);

    /// <summary><c>clBuildProgram</c>, waiting.</summary>
    int BuildProgram(nint program, nint device, byte* options);

    /// <summary><c>clGetProgramBuildInfo</c>.</summary>
    int GetProgramBuildInfo(nint program, nint device, uint name, nuint size, void* value, nuint* needed);

    /// <summary><c>clGetProgramInfo</c>.</summary>
    int GetProgramInfo(nint program, uint name, nuint size, void* value, nuint* needed);

    /// <summary><c>clReleaseProgram</c>.</summary>
    int ReleaseProgram(nint program);

    /// <summary><c>clCreateKernel</c>.</summary>
    nint CreateKernel(nint program, byte* name, int* error);

    /// <summary><c>clReleaseKernel</c>.</summary>
    int ReleaseKernel(nint kernel);

    /// <summary><c>clSetKernelArg</c>.</summary>
    int SetKernelArg(nint kernel, uint index, nuint size, void* value);

    /// <summary><c>clEnqueueNDRangeKernel</c>.</summary>
    int EnqueueNDRangeKernel(nint queue, nint kernel, uint dimensions, nuint* global, nuint* local, uint waits, nint* waitList, nint* completed);

    /// <summary><c>clEnqueueWriteBuffer</c>, not waiting.</summary>
    int EnqueueWriteBuffer(nint queue, nint buffer, nuint offset, nuint size, void* source, uint waits, nint* waitList, nint* completed);

    /// <summary><c>clEnqueueReadBuffer</c>, not waiting.</summary>
    int EnqueueReadBuffer(nint queue, nint buffer, nuint offset, nuint size, void* destination, uint waits, nint* waitList, nint* completed);

    /// <summary><c>clEnqueueMapBuffer</c>, waiting; the result is the host's address.</summary>
    void* EnqueueMapBuffer(nint queue, nint buffer, ulong flags, nuint offset, nuint size, int* error);

    /// <summary><c>clEnqueueUnmapMemObject</c>.</summary>
    int EnqueueUnmapMemObject(nint queue, nint memory, void* mapped);

    /// <summary><c>clFlush</c>.</summary>
    int Flush(nint queue);

    /// <summary><c>clFinish</c>.</summary>
    int Finish(nint queue);

    /// <summary><c>clEnqueueMarkerWithWaitList</c> over all that came before.</summary>
    int EnqueueMarker(nint queue, nint* completed);

    /// <summary><c>clSetEventCallback</c> for completion.</summary>
    int SetEventCallback(nint waited, delegate* unmanaged<nint, int, nint, void> callback, nint state);

    /// <summary><c>clGetEventProfilingInfo</c>.</summary>
    int GetEventProfilingInfo(nint profiled, uint name, ulong* nanoseconds);

    /// <summary><c>clReleaseEvent</c>.</summary>
    int ReleaseEvent(nint released);
}

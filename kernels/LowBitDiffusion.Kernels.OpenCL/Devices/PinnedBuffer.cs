using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>Memory of the host that the driver has taken and mapped, from which devices fetch without a copy in between. What is copied into it may be let go at once.</summary>
internal sealed unsafe class PinnedBuffer : IDisposable
{
    /// <summary>Its length: enough for the arrays of a layer, little beside a model.</summary>
    public const int Bytes = 4 << 20;

    private readonly IOpenCl _api;
    private readonly nint _queue;
    private readonly nint _handle;
    private readonly byte* _address;

    /// <summary>Takes and maps the memory.</summary>
    /// <exception cref="OpenClException">There is none.</exception>
    public PinnedBuffer(OpenClContext context, nint queue)
    {
        (_api, _queue) = (context.Api, queue);
        int error;
        _handle = _api.CreateBuffer(context.Handle, ClCode.MemReadWrite | ClCode.MemAllocHostPointer, Bytes, null, &error);
        OpenClException.Check(error, "clCreateBuffer", $"{Bytes} bytes of the host's memory for {context.Device}");
        _address = (byte*)_api.EnqueueMapBuffer(queue, _handle, ClCode.MapWrite, 0, Bytes, &error);
        if (error == ClCode.Success) return;
        _api.ReleaseMemObject(_handle);
        throw new OpenClException("clEnqueueMapBuffer", error, $"{Bytes} bytes of the host's memory for {context.Device}");
    }

    /// <summary>The host's address of a byte.</summary>
    public byte* At(int offset) => _address + offset;

    /// <summary>Gives the memory back; nothing may be under way.</summary>
    public void Dispose()
    {
        _api.EnqueueUnmapMemObject(_queue, _handle, _address);
        _api.Finish(_queue);
        _api.ReleaseMemObject(_handle);
    }
}

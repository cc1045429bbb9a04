using LowBitDiffusion.Kernels.OpenCL.Interop;

namespace LowBitDiffusion.Kernels.OpenCL.Devices;

/// <summary>A kernel object; its arguments are set anew at each call.</summary>
internal sealed class Kernel(IOpenCl api, nint handle, string name) : IDisposable
{
    private nint _handle = handle;

    public string Name => name;

    public IOpenCl Api => api;

    public nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _handle;
        }
    }

    public void Dispose()
    {
        nint released = Interlocked.Exchange(ref _handle, 0);
        if (released != 0) api.ReleaseKernel(released);
    }
}

/// <summary>One call of a kernel: arguments in the order of its parameters, then the run. A place in memory is two parameters: buffer and offset.</summary>
internal unsafe ref struct KernelCall(DeviceQueue queue, Kernel kernel)
{
    private uint _index;

    /// <summary>A place in memory, or nowhere.</summary>
    public KernelCall Memory(DeviceSlice slice)
    {
        nint handle = slice.Buffer?.Handle ?? 0;
        Set(slice.Buffer is null ? null : &handle, (nuint)sizeof(nint));
        ulong offset = (ulong)slice.Offset;
        Set(&offset, sizeof(ulong));
        return this;
    }

    /// <summary>A number, or a struct of numbers.</summary>
    public KernelCall Value<T>(T value) where T : unmanaged
    {
        Set(&value, (nuint)sizeof(T));
        return this;
    }

    /// <summary>Hands the kernel over. The global size is rounded up to whole groups; kernels leave out what lies beyond.</summary>
    public readonly void Run((long X, long Y) items, (int X, int Y) group)
    {
        if (items.X <= 0 || items.Y <= 0) return;
        nuint* global = stackalloc nuint[] { RoundUp(items.X, group.X), RoundUp(items.Y, group.Y) };
        nuint* local = stackalloc nuint[] { (nuint)group.X, (nuint)group.Y };
        queue.Launch(kernel, new(global, 2), new(local, 2));
    }

    private static nuint RoundUp(long items, int group) => (nuint)((items + group - 1) / group * group);

    private void Set(void* value, nuint size)
    {
        OpenClException.Check(kernel.Api.SetKernelArg(kernel.Handle, _index, size, value), "clSetKernelArg", $"argument {_index} of {kernel.Name}");
        _index++;
    }
}

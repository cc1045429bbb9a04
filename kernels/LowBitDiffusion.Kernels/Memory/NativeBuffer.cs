using System.Runtime.InteropServices;

namespace LowBitDiffusion.Kernels.Memory;

/// <summary>Native memory, zeroed, aligned to 64 bytes, with 64 readable bytes behind its end: kernels may read whole vectors over a row's end.</summary>
public sealed unsafe class NativeBuffer : IDisposable
{
    /// <summary>Bytes behind the end that may be read (never written).</summary>
    public const int Slack = 64;

    private static long s_liveBytes;
    private nint _pointer;

    /// <summary>Allocates <paramref name="length"/> bytes.</summary>
    /// <exception cref="OutOfMemoryException">The system refuses.</exception>
    public NativeBuffer(nuint length)
    {
        Length = length;
        _pointer = (nint)NativeMemory.AlignedAlloc(length + Slack, 64);
        NativeMemory.Clear((void*)_pointer, length + Slack);
        Interlocked.Add(ref s_liveBytes, (long)length);
    }

    /// <summary>Frees the memory if <see cref="Dispose"/> was forgotten.</summary>
    ~NativeBuffer() => Free();

    /// <summary>Bytes held by all buffers of the process: a leak shows here.</summary>
    public static long LiveBytes => Interlocked.Read(ref s_liveBytes);

    /// <summary>Length in bytes, without the slack.</summary>
    public nuint Length { get; }

    /// <summary>The first byte.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was freed.</exception>
    public byte* Pointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(_pointer == 0, this);
            return (byte*)_pointer;
        }
    }

    /// <summary>Frees the memory; a second call does nothing.</summary>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        nint pointer = Interlocked.Exchange(ref _pointer, 0);
        if (pointer == 0) return;
        NativeMemory.AlignedFree((void*)pointer);
        Interlocked.Add(ref s_liveBytes, -(long)Length);
    }
}

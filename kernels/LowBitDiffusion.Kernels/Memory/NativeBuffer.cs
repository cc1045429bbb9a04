using System.Runtime.InteropServices;

namespace LowBitDiffusion.Kernels.Memory;

/// <summary>
/// Native memory, zeroed, aligned to 64 bytes, with 64 readable bytes behind its end: kernels may read whole vectors over a row's end. Large buffers
/// ask for large pages, since kernels walk over many rows at once and each lies on a page of its own.
/// </summary>
public sealed unsafe partial class NativeBuffer : IDisposable
{
    /// <summary>Bytes behind the end that may be read (never written).</summary>
    public const int Slack = 64;

    private const nuint LargePage = 2 * 1024 * 1024;

    /// <summary>MADV_HUGEPAGE.</summary>
    private const int HugePageAdvice = 14;

    private static long s_liveBytes;
    private nint _pointer;

    /// <summary>Allocates <paramref name="length"/> bytes.</summary>
    /// <exception cref="OutOfMemoryException">The system refuses.</exception>
    public NativeBuffer(nuint length)
    {
        Length = length;
        bool large = OperatingSystem.IsLinux() && length >= LargePage;
        _pointer = (nint)NativeMemory.AlignedAlloc(length + Slack, large ? LargePage : 64);
        // Whole large pages only, so that no memory is taken beyond the buffer. A refusal costs speed, nothing else.
        if (large) _ = AdviseMemory(_pointer, length & ~(LargePage - 1), HugePageAdvice);
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

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int AdviseMemory(nint address, nuint length, int advice);

    private void Free()
    {
        nint pointer = Interlocked.Exchange(ref _pointer, 0);
        if (pointer == 0) return;
        NativeMemory.AlignedFree((void*)pointer);
        Interlocked.Add(ref s_liveBytes, -(long)Length);
    }
}

using System.ComponentModel;
using System.Runtime.InteropServices;

namespace LowBitDiffusion.Kernels.Tests.Memory;

/// <summary>
/// Memory whose end touches a page that may not be read: who reads or writes behind it ends the test run. On Linux; elsewhere it is plain memory.
/// <code>
///   | … pages …      [ the memory ]| forbidden page |
/// </code>
/// </summary>
internal sealed unsafe partial class GuardedMemory : IDisposable
{
    private readonly nint _pages;
    private readonly nuint _length;

    internal GuardedMemory(int bytes)
    {
        nuint page = (nuint)Environment.SystemPageSize;
        nuint usable = ((nuint)bytes + page - 1) / page * page;
        _length = usable + page;
        if (OperatingSystem.IsLinux())
        {
            const int ReadWrite = 3, PrivateAnonymous = 0x22;
            _pages = Mmap(0, _length, ReadWrite, PrivateAnonymous, -1, 0);
            if (_pages == -1 || Mprotect(_pages + (nint)usable, page, 0) != 0) throw new Win32Exception(Marshal.GetLastPInvokeError());
        }
        else
        {
            _pages = (nint)NativeMemory.AllocZeroed(_length);
        }

        Pointer = (byte*)_pages + usable - (nuint)bytes;
    }

    internal byte* Pointer { get; }

    internal static GuardedMemory Of<T>(ReadOnlySpan<T> values) where T : unmanaged
    {
        GuardedMemory memory = new(values.Length * sizeof(T));
        values.CopyTo(new Span<T>(memory.Pointer, values.Length));
        return memory;
    }

    public void Dispose()
    {
        if (OperatingSystem.IsLinux())
        {
            _ = Munmap(_pages, _length);
        }
        else
        {
            NativeMemory.Free((void*)_pages);
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Mprotect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Munmap(nint address, nuint length);
}

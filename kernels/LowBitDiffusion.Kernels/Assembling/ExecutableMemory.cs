using System.ComponentModel;
using System.Runtime.InteropServices;

namespace LowBitDiffusion.Kernels.Assembling;

/// <summary>
/// Machine code in memory. A page is first writable, then executable, never both. The system may refuse (hardened kernels, some containers):
/// that is an exception for the caller to handle by doing without.
/// </summary>
internal sealed unsafe partial class ExecutableMemory : IDisposable
{
    private const int ProtRead = 1, ProtWrite = 2, ProtExecute = 4, MapPrivate = 2, MapAnonymous = 0x20;
    private const uint Commit = 0x1000, Reserve = 0x2000, Release = 0x8000, PageReadWrite = 0x04, PageExecuteRead = 0x20;

    private readonly nuint _length;
    private nint _address;

    /// <summary>Places code in memory of its own.</summary>
    /// <exception cref="Win32Exception">The system refuses executable memory.</exception>
    /// <exception cref="PlatformNotSupportedException">Neither Linux nor Windows.</exception>
    internal ExecutableMemory(ReadOnlySpan<byte> code)
    {
        _length = (nuint)code.Length;
        if (OperatingSystem.IsWindows())
        {
            _address = Check(VirtualAlloc(0, _length, Commit | Reserve, PageReadWrite), refused: 0);
            code.CopyTo(new Span<byte>((void*)_address, code.Length));
            if (VirtualProtect(_address, _length, PageExecuteRead, out _)) return;
        }
        else if (OperatingSystem.IsLinux())
        {
            _address = Check(Mmap(0, _length, ProtRead | ProtWrite, MapPrivate | MapAnonymous, -1, 0), refused: -1);
            code.CopyTo(new Span<byte>((void*)_address, code.Length));
            if (Mprotect(_address, _length, ProtRead | ProtExecute) == 0) return;
        }
        else
        {
            throw new PlatformNotSupportedException("executable memory is known for Linux and Windows only");
        }

        int error = Marshal.GetLastPInvokeError();
        Free();
        throw new Win32Exception(error);
    }

    /// <summary>Frees the memory if <see cref="Dispose"/> was forgotten.</summary>
    ~ExecutableMemory() => Free();

    /// <summary>The first byte of the code.</summary>
    internal nint Address => _address;

    /// <summary>Frees the memory; a second call does nothing.</summary>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private static nint Check(nint address, nint refused) => address != refused ? address : throw new Win32Exception(Marshal.GetLastPInvokeError());

    private void Free()
    {
        nint address = Interlocked.Exchange(ref _address, 0);
        if (address == 0) return;
        if (OperatingSystem.IsWindows())
        {
            VirtualFree(address, 0, Release);
        }
        else
        {
            Munmap(address, _length);
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Mmap(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Mprotect(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Munmap(nint address, nuint length);

    [LibraryImport("kernel32", EntryPoint = "VirtualAlloc", SetLastError = true)]
    private static partial nint VirtualAlloc(nint address, nuint length, uint kind, uint protection);

    [LibraryImport("kernel32", EntryPoint = "VirtualProtect", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool VirtualProtect(nint address, nuint length, uint protection, out uint old);

    [LibraryImport("kernel32", EntryPoint = "VirtualFree", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static partial bool VirtualFree(nint address, nuint length, uint kind);
}

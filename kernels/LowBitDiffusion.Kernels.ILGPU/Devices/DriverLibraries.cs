using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using ILGPU;

namespace LowBitDiffusion.Kernels.ILGPU.Devices;

/// <summary>
/// Finds drivers for ILGPU, which asks for <c>libOpenCL.so</c> and <c>libcuda.so</c>. Those names come with the files for developers; a machine that only has drivers knows them as <c>libOpenCL.so.1</c> and
/// <c>libcuda.so.1</c>.
/// </summary>
internal static class DriverLibraries
{
    private static int s_found;

    /// <summary>Makes them known; a second time does nothing.</summary>
    internal static void Find()
    {
        if (OperatingSystem.IsLinux() && Interlocked.Exchange(ref s_found, 1) == 0) AssemblyLoadContext.GetLoadContext(typeof(Context).Assembly)!.ResolvingUnmanagedDll += Load;
    }

    private static nint Load(Assembly assembly, string name) =>
        assembly == typeof(Context).Assembly && name is ("OpenCL" or "cuda") && NativeLibrary.TryLoad($"lib{name}.so.1", out nint library) ? library : 0;
}

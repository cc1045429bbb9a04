using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Backends.OpenCL;
using ILGPU.Runtime;
using ILGPU.Runtime.CPU;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;
using LowBitDiffusion.Kernels.ILGPU.Families;

namespace LowBitDiffusion.Kernels.ILGPU.Devices;

/// <summary>What ILGPU finds on a machine: CUDA devices, OpenCL devices, and .NET itself, which runs kernels slowly and is there to test them.</summary>
public sealed class IlgpuContext : IDisposable
{
    private readonly Context _context;

    /// <summary>Looks for devices. A driver that is not there is no error.</summary>
    public IlgpuContext() => _context = Context.Create(builder =>
    {
        // The only level at which ILGPU finds out that kernels read global memory.
        builder.Optimize(OptimizationLevel.O2);
        DriverLibraries.Find();
        CudaInstructions.Register(builder);
        // .NET as one processor of one warp: as few threads as a warp's product needs.
        builder.Cuda().OpenCL(IsUsable).CPU(new CPUDevice(WarpKernel.Lanes, numWarpsPerMultiprocessor: 1, numMultiprocessors: 1));
    });

    /// <summary>The devices: CUDA first, then OpenCL, .NET last.</summary>
    public IReadOnlyList<Device> Devices => [.. _context.Devices.OrderBy(device => device.AcceleratorType switch { AcceleratorType.Cuda => 0, AcceleratorType.OpenCL => 1, _ => 2 })];

    /// <summary>The context as ILGPU has it.</summary>
    internal Context Context => _context;

    /// <summary>Opens a device of this context.</summary>
    public IlgpuDevice Open(Device device) => new(device.CreateAccelerator(_context));

    /// <inheritdoc/>
    public void Dispose() => _context.Dispose();

    // ILGPU wants pointers that may point anywhere. No kernel here has one, so a device without them, as PoCL is, will do; what it computes is checked anyway.
    private static bool IsUsable(CLDevice device)
    {
        if (device.CLStdVersion < CLBackend.MinimumVersion) return false;
        if (!device.Capabilities.GenericAddressSpace) SetGenericAddressSpace(device.Capabilities, true);
        return true;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_GenericAddressSpace")]
    private static extern void SetGenericAddressSpace(CLCapabilityContext capabilities, bool value);
}

using System.Reflection;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using ILGPU.Runtime.OpenCL;
using LayerKernel = System.Action<
    ILGPU.ArrayView<byte>, ILGPU.ArrayView<uint>, ILGPU.ArrayView<ushort>, ILGPU.ArrayView<uint>, ILGPU.ArrayView<int>, ILGPU.ArrayView<float>, ILGPU.ArrayView<int>, ILGPU.ArrayView<int>,
    ILGPU.ArrayView<float>, ILGPU.ArrayView<float>, ILGPU.ArrayView<float>, ILGPU.ArrayView<float>, ILGPU.ArrayView<float>, LowBitDiffusion.Kernels.ILGPU.Families.LayerNumbers>;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>A way to compute integer layers.</summary>
public sealed class IntegerVariant
{
    private readonly Func<bool, bool, LayerKernel> _kernel;
    private readonly bool _warps;

    private IntegerVariant(string name, bool warps, Func<bool, bool, LayerKernel> kernel) => (Name, _warps, _kernel) = (name, warps, kernel);

    /// <summary>A name for listings.</summary>
    public string Name { get; }

    /// <summary>Multiplications and additions, on every device.</summary>
    public static IntegerVariant Plain { get; } = Tiles<PlainProducts>("plain");

    /// <summary>CUDA's <c>dp4a</c>, from sm_61.</summary>
    public static IntegerVariant Dp4a { get; } = Tiles<Dp4aProducts>("dp4a");

    /// <summary>CUDA's tensor cores by <c>mma.sync.m16n8k32</c>, from sm_80.</summary>
    public static IntegerVariant Mma { get; } = Warps<MmaProducts>("mma");

    /// <summary>What a device's properties promise, the fastest first.</summary>
    public static IReadOnlyList<IntegerVariant> Candidates(Device device) =>
        device is not CudaDevice { Architecture: { } architecture } ? [Plain]
        : architecture >= CudaArchitecture.SM_80 ? [Mma, Dp4a, Plain]
        : architecture >= CudaArchitecture.SM_61 ? [Dp4a, Plain]
        : [Plain];

    /// <inheritdoc/>
    public override string ToString() => Name;

    /// <summary>A variant of <see cref="TileKernel"/>.</summary>
    internal static IntegerVariant Tiles<TProducts>(string name) where TProducts : struct, IByteProducts => new(name, warps: false, (aligned, nibbles) => (aligned, nibbles) switch
    {
        (true, true) => TileKernel.Run<TProducts, AlignedInput, NibbleWeights>,
        (true, false) => TileKernel.Run<TProducts, AlignedInput, ByteWeights>,
        (false, true) => TileKernel.Run<TProducts, AnyInput, NibbleWeights>,
        (false, false) => TileKernel.Run<TProducts, AnyInput, ByteWeights>,
    });

    /// <summary>A variant of <see cref="WarpKernel"/>.</summary>
    internal static IntegerVariant Warps<TProducts>(string name) where TProducts : struct, IWarpProducts => new(name, warps: true, (aligned, nibbles) => (aligned, nibbles) switch
    {
        (true, true) => WarpKernel.Run<TProducts, AlignedInput, NibbleWeights>,
        (true, false) => WarpKernel.Run<TProducts, AlignedInput, ByteWeights>,
        (false, true) => WarpKernel.Run<TProducts, AnyInput, NibbleWeights>,
        (false, false) => WarpKernel.Run<TProducts, AnyInput, ByteWeights>,
    });

    /// <summary>The kernel for an input and weights.</summary>
    internal MethodInfo Method(bool aligned, bool nibbles) => _kernel(aligned, nibbles).Method;

    /// <summary>Compiles the kernel for an input and weights.</summary>
    internal Action<LayerViews, LayerNumbers> Load(Accelerator accelerator, bool aligned, bool nibbles)
    {
        var kernel = accelerator.LoadStreamKernel(_kernel(aligned, nibbles));
        return (v, numbers) => kernel(
            Range(accelerator.Device, numbers), v.Input, v.Words, v.Nibbles, v.Bases, v.Sums, v.Scales, v.Runs, v.Segments, v.Quantizer, v.Bias, v.ImageVector, v.Residual, v.Output, numbers);
    }

    /// <summary>How many groups of how many threads a layer takes. Rows come first: there may be more groups of them than ILGPU allows in the second direction.</summary>
    private KernelConfig Range(Device device, in LayerNumbers numbers)
    {
        bool wide = device is CudaDevice or CLDevice { DeviceType: CLDeviceType.CL_DEVICE_TYPE_GPU };
        (int lanes, int lines) = _warps ? (WarpKernel.Lanes, wide ? 4 : 1) : (TileKernel.Lanes, wide ? 8 : 1);
        (int columns, int rows) = _warps ? (WarpKernel.Columns, WarpKernel.Rows * lines) : (TileKernel.Columns * lanes, TileKernel.Rows * lines);
        return new KernelConfig(new Index2D(Groups(numbers.Rows, rows), Groups(numbers.Columns, columns)), new Index2D(lanes, lines));

        static int Groups(int all, int each) => (all + each - 1) / each;
    }
}

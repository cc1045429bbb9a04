using System.Runtime.CompilerServices;
using ILGPU;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>What a layer's kernel reads and writes; empty views are not given. Weights are laid out as <see cref="Convolution.PackedColumns"/> says.</summary>
/// <remarks>Views are parameters of a kernel, not this structure: only then does ILGPU's OpenCL say that they are global memory, and needs no pointers that may point anywhere.</remarks>
internal readonly struct LayerViews(
    ArrayView<byte> input, ArrayView<uint> words, ArrayView<ushort> nibbles, ArrayView<uint> bases, ArrayView<int> sums, ArrayView<float> scales, ArrayView<int> runs, ArrayView<int> segments,
    ArrayView<float> quantizer, ArrayView<float> bias, ArrayView<float> imageVector, ArrayView<float> residual, ArrayView<float> output)
{
    internal readonly ArrayView<byte> Input = input;
    internal readonly ArrayView<uint> Words = words;
    internal readonly ArrayView<ushort> Nibbles = nibbles;
    internal readonly ArrayView<uint> Bases = bases;
    internal readonly ArrayView<int> Sums = sums;
    internal readonly ArrayView<float> Scales = scales;
    internal readonly ArrayView<int> Runs = runs;
    internal readonly ArrayView<int> Segments = segments;
    internal readonly ArrayView<float> Quantizer = quantizer;
    internal readonly ArrayView<float> Bias = bias;
    internal readonly ArrayView<float> ImageVector = imageVector;
    internal readonly ArrayView<float> Residual = residual;
    internal readonly ArrayView<float> Output = output;
}

/// <summary>Sizes of a layer, in elements, and where the rows of a phase lie (<see cref="Convolution.PhaseMap"/>).</summary>
internal struct LayerNumbers
{
    internal int Rows, Columns, PaddedColumns, Segments, Ranges;
    internal int PerImage, PerLine, From, FromImage, FromLine, FromStep, To, ToImage, ToLine, ToStep;
    internal int ImageVectorStride, ResidualStride, OutputStride;
    internal float OutputScale;

    /// <summary>Where a row's pixel begins in the input; rows behind the last read the last. A call, because ILGPU moves arithmetic to where its result is used: into the innermost loop.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    internal static int Corner(LayerNumbers n, int row)
    {
        row = IntrinsicMath.Min(row, n.Rows - 1);
        int image = row / n.PerImage, pixel = row - (image * n.PerImage), y = pixel / n.PerLine, x = pixel - (y * n.PerLine);
        return n.From + (image * n.FromImage) + (y * n.FromLine) + (x * n.FromStep);
    }

    /// <summary>Which row of the output a row of the phase is.</summary>
    internal static int Place(in LayerNumbers n, int row)
    {
        int image = row / n.PerImage, pixel = row - (image * n.PerImage), y = pixel / n.PerLine, x = pixel - (y * n.PerLine);
        return n.To + (image * n.ToImage) + (y * n.ToLine) + (x * n.ToStep);
    }
}

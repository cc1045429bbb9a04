using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.FloatConvolution;

/// <summary>
/// Weights of a float convolution or linear layer in the order in which the kernel reads them. A panel holds the output channels of two vectors;
/// the last one is a single vector wide where that is enough. Missing channels are zero.
/// <code>
///   panel p, element k:   w[p·P + 0][k]  w[p·P + 1][k]  …  w[p·P + P − 1][k]      P = 2 vectors
///   k counts kernel rows, then kernel columns, then input channels: the order of the padded NHWC image
/// </code>
/// </summary>
public sealed unsafe class PackedFloatWeights : IDisposable
{
    private readonly NativeBuffer _buffer;

    internal PackedFloatWeights(int outChannels, int inChannels, int kernelHeight, int kernelWidth, SimdLevel level)
    {
        OutChannels = outChannels;
        InChannels = inChannels;
        KernelHeight = kernelHeight;
        KernelWidth = kernelWidth;
        Level = level;
        VectorWidth = level.Lanes();
        _buffer = new NativeBuffer((nuint)ByteLength(outChannels, (long)inChannels * kernelHeight * kernelWidth, level));
    }

    /// <summary>Output channels N.</summary>
    public int OutChannels { get; }

    /// <summary>Input channels.</summary>
    public int InChannels { get; }

    /// <summary>Rows of the kernel.</summary>
    public int KernelHeight { get; }

    /// <summary>Columns of the kernel.</summary>
    public int KernelWidth { get; }

    /// <summary>Length of one output's sum: the K of the matrix product.</summary>
    public int Depth => InChannels * KernelHeight * KernelWidth;

    /// <summary>The level whose kernel reads these weights.</summary>
    public SimdLevel Level { get; }

    /// <summary>Native bytes held.</summary>
    public long Bytes => (long)_buffer.Length;

    /// <summary>Floats in a vector of <see cref="Level"/>.</summary>
    internal int VectorWidth { get; }

    /// <summary>The panels.</summary>
    internal float* Data => (float*)_buffer.Pointer;

    /// <summary>Bytes of weights <c>[outChannels][depth]</c> once packed.</summary>
    internal static long ByteLength(int outChannels, long depth, SimdLevel level) => Panels.PaddedColumns(outChannels, level.Lanes()) * depth * sizeof(float);

    /// <inheritdoc/>
    public void Dispose() => _buffer.Dispose();
}

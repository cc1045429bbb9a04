using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// Gradient of a weight, <c>dw[o][k] = Σ over output pixels m of dy[m][o]·x[pixel(m) + k]</c>, in pieces: 32 output channels × 96 consecutive elements of one kernel row.
/// <code>
///   for each chunk of 128 pixels                  small enough that its rows of x and dy stay in the cache while the piece's tiles pass over them
///     for each tile of 8 channels × 2 vectors     sums of the chunk in registers, then added to the piece's sums on the stack
///   sums → dw, from the order (row, column, channel) of the image to the weight's [out, in, row, column]
/// </code>
/// A piece owns its part of the result and takes the chunks in order: the same bits for any number of threads.
/// </summary>
[SkipLocalsInit]
internal readonly unsafe struct WeightGradientBody<TSimd, TVector>(ConvWalk walk, float* input, float* outputGradient, float* weightGradient) : IParallelBody
    where TSimd : struct, ISimd<TVector> where TVector : struct
{
    private const int OutBlock = 32;
    private const int ColumnBlock = 96;
    private const int Chunk = 128;

    private ConvGeometry Geometry => walk.Geometry;

    private int OutBlocks => (Geometry.OutChannels + OutBlock - 1) / OutBlock;

    private int ColumnBlocks => (Geometry.KernelWidth * Geometry.Channels + ColumnBlock - 1) / ColumnBlock;

    /// <summary>How many pieces there are.</summary>
    public int Pieces => OutBlocks * ColumnBlocks * Geometry.KernelHeight;

    public void Run(int index)
    {
        ConvGeometry geometry = Geometry;
        int firstOut = index % OutBlocks * OutBlock, outs = Math.Min(OutBlock, geometry.OutChannels - firstOut);
        int firstColumn = index / OutBlocks % ColumnBlocks * ColumnBlock, columns = Math.Min(ColumnBlock, geometry.KernelWidth * geometry.Channels - firstColumn);
        int kernelRow = index / OutBlocks / ColumnBlocks;

        float* sums = stackalloc float[OutBlock * ColumnBlock];
        new Span<float>(sums, OutBlock * ColumnBlock).Clear();
        float** pixels = stackalloc float*[Chunk];
        int* places = stackalloc int[Chunk];
        nint offset = (nint)kernelRow * geometry.Width * geometry.Channels + firstColumn;
        for (int first = 0; first < geometry.Rows; first += Chunk)
        {
            int count = Math.Min(Chunk, geometry.Rows - first);
            walk.Locate(input, first, first + count, pixels, places);
            float* gradient = outputGradient + (nint)first * geometry.OutChannels + firstOut;
            int height = MatrixTile<TSimd, TVector>.MaxRows, width = 2 * TSimd.Count;
            for (int column = 0; column < columns; column += width)
            {
                int vectors = columns - column > TSimd.Count ? 2 : 1;
                for (int o = 0; o < outs; o += height)
                {
                    OuterProductTile<TSimd, TVector>.Add(
                        Math.Min(height, outs - o), vectors, count, gradient + o, geometry.OutChannels, pixels, offset + column, sums + o * ColumnBlock + column, ColumnBlock);
                }
            }
        }

        for (int o = 0; o < outs; o++)
        {
            float* target = weightGradient + ((nint)(firstOut + o) * geometry.Channels * geometry.KernelHeight + kernelRow) * geometry.KernelWidth;
            int taps = geometry.KernelHeight * geometry.KernelWidth, kernelColumn = firstColumn / geometry.Channels, channel = firstColumn % geometry.Channels;
            for (int column = 0; column < columns; kernelColumn++, channel = 0)
            {
                for (int end = Math.Min(columns, column + geometry.Channels - channel); column < end; column++, channel++) target[(nint)channel * taps + kernelColumn] = sums[o * ColumnBlock + column];
            }
        }
    }
}

using System.Numerics;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>The sum in the middle of every convolution, in whatever numbers.</summary>
internal static class Correlation
{
    /// <summary>
    /// Adds one input channel's part to one output channel: <c>sums[i, j] += Σ kernel[r, s]·image[i·stride + r − top, j·stride + s − left]</c>. What lies outside the image is zero.
    /// </summary>
    public static void Add<T>(Conv2dOp op, ReadOnlySpan<T> image, TensorShape from, ReadOnlySpan<T> kernel, Span<T> sums, TensorShape to)
        where T : struct, INumber<T>
    {
        int width = from[3], outWidth = to[3];
        for (int tap = 0; tap < kernel.Length; tap++)
        {
            int top = tap / op.Kernel - op.Padding.Top, left = tap % op.Kernel - op.Padding.Left;
            (int firstRow, int endRow) = Inside(top, op.Stride, from[2], to[2]);
            (int firstColumn, int endColumn) = Inside(left, op.Stride, width, outWidth);
            for (int i = firstRow; i < endRow; i++)
            {
                ReadOnlySpan<T> row = image.Slice((i * op.Stride + top) * width, width);
                for (int j = firstColumn; j < endColumn; j++) sums[i * outWidth + j] += kernel[tap] * row[j * op.Stride + left];
            }
        }
    }

    /// <summary>The outputs i of <c>[0, outputs)</c> whose input <c>i·stride + offset</c> lies in <c>[0, extent)</c>.</summary>
    private static (int First, int End) Inside(int offset, int stride, int extent, int outputs)
    {
        int first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
        int end = extent - offset <= 0 ? 0 : (extent - offset + stride - 1) / stride;
        return (first, Math.Min(end, outputs));
    }
}

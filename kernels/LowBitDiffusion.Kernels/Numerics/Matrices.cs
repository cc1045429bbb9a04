using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>Moves of matrices in memory. Elements are 32 bits that nobody looks at.</summary>
internal static unsafe class Matrices
{
    /// <summary><c>target[column][row] = source[row][column]</c>, four by four.</summary>
    /// <param name="source">First row.</param>
    /// <param name="sourceStride">Distance of rows in elements.</param>
    /// <param name="rows">Rows of the source.</param>
    /// <param name="columns">Columns of the source.</param>
    /// <param name="target">First column of the source.</param>
    /// <param name="targetStride">Distance of the target's rows in elements.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(float* source, nint sourceStride, int rows, int columns, float* target, nint targetStride)
    {
        int wholeRows = Sse.IsSupported ? rows & ~3 : 0, wholeColumns = columns & ~3;
        for (int row = 0; row < wholeRows; row += 4)
        {
            float* from = source + (row * sourceStride), to = target + row;
            for (int column = 0; column < wholeColumns; column += 4, from += 4, to += 4 * targetStride)
            {
                Vector128<float> r0 = Sse.LoadVector128(from), r1 = Sse.LoadVector128(from + sourceStride);
                Vector128<float> r2 = Sse.LoadVector128(from + (2 * sourceStride)), r3 = Sse.LoadVector128(from + (3 * sourceStride));
                Vector128<float> low01 = Sse.UnpackLow(r0, r1), low23 = Sse.UnpackLow(r2, r3), high01 = Sse.UnpackHigh(r0, r1), high23 = Sse.UnpackHigh(r2, r3);
                Sse.Store(to, Sse.MoveLowToHigh(low01, low23));
                Sse.Store(to + targetStride, Sse.MoveHighToLow(low23, low01));
                Sse.Store(to + (2 * targetStride), Sse.MoveLowToHigh(high01, high23));
                Sse.Store(to + (3 * targetStride), Sse.MoveHighToLow(high23, high01));
            }

            Copy(source, sourceStride, row, row + 4, wholeColumns, columns, target, targetStride);
        }

        Copy(source, sourceStride, wholeRows, rows, 0, columns, target, targetStride);
    }

    private static void Copy(float* source, nint sourceStride, int row, int rowEnd, int firstColumn, int columns, float* target, nint targetStride)
    {
        for (; row < rowEnd; row++)
        {
            for (int column = firstColumn; column < columns; column++) target[(column * targetStride) + row] = source[(row * sourceStride) + column];
        }
    }
}

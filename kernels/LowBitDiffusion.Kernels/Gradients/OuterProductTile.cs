using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// The innermost loop of products whose sum runs over the rows of both factors, <c>C += Aᵀ·B</c>: the gradient of a weight sums over pixels, and so do those of keys and values.
/// Nothing is packed: both factors are read where they lie.
/// <code>
///                       b[m]   ┌───────────┬───────────┐         one row of B per m, anywhere in memory: a pixel of a padded image
///                              │     b0    │     b1    │
///                              └───────────┴───────────┘         per m: 2 loads of B, and for each row of C one broadcast and 2 multiply-adds
///   a + m·aStride   a[0]    ×  │    c00    │    c01    │
///                   a[1]    ×  │    c10    │    c11    │         sums stay in registers for all of m and are added to C at the end
///                     …        │     …     │     …     │
/// </code>
/// Each call is one chain of multiply-adds per element in the order of m, so tiles of any height and width give the same bits.
/// </summary>
/// <typeparam name="TSimd">Operations.</typeparam>
/// <typeparam name="TVector">Vector.</typeparam>
internal static unsafe class OuterProductTile<TSimd, TVector> where TSimd : struct, ISimd<TVector> where TVector : struct
{
    /// <summary>Adds to <c>c[i][j]</c>, for <paramref name="rows"/> i and whole vectors of j, the sum over m of <c>a[m·aStride + i]·b[m][offset + j]</c>.</summary>
    /// <param name="rows">Height of the tile, 1 … <see cref="MatrixTile{TSimd, TVector}.MaxRows"/>.</param>
    /// <param name="vectors">Width of the tile, 1 or 2 vectors; <paramref name="b"/> is read and <paramref name="c"/> written in whole vectors.</param>
    /// <param name="count">Terms of the sum.</param>
    /// <param name="a">First factor.</param>
    /// <param name="aStride">Distance between its rows.</param>
    /// <param name="b">Rows of the second factor.</param>
    /// <param name="offset">Added to each of them.</param>
    /// <param name="c">The sums.</param>
    /// <param name="cStride">Distance between their rows.</param>
    public static void Add(int rows, int vectors, int count, float* a, nint aStride, float** b, nint offset, float* c, nint cStride)
    {
        if (vectors == 2)
        {
            switch (rows)
            {
                case 1: Add<Size1, Size2>(count, a, aStride, b, offset, c, cStride); break;
                case 2: Add<Size2, Size2>(count, a, aStride, b, offset, c, cStride); break;
                case 3: Add<Size3, Size2>(count, a, aStride, b, offset, c, cStride); break;
                case 4: Add<Size4, Size2>(count, a, aStride, b, offset, c, cStride); break;
                case 5: Add<Size5, Size2>(count, a, aStride, b, offset, c, cStride); break;
                case 6: Add<Size6, Size2>(count, a, aStride, b, offset, c, cStride); break;
                case 7: Add<Size7, Size2>(count, a, aStride, b, offset, c, cStride); break;
                default: Add<Size8, Size2>(count, a, aStride, b, offset, c, cStride); break;
            }
        }
        else
        {
            switch (rows)
            {
                case 1: Add<Size1, Size1>(count, a, aStride, b, offset, c, cStride); break;
                case 2: Add<Size2, Size1>(count, a, aStride, b, offset, c, cStride); break;
                case 3: Add<Size3, Size1>(count, a, aStride, b, offset, c, cStride); break;
                case 4: Add<Size4, Size1>(count, a, aStride, b, offset, c, cStride); break;
                case 5: Add<Size5, Size1>(count, a, aStride, b, offset, c, cStride); break;
                case 6: Add<Size6, Size1>(count, a, aStride, b, offset, c, cStride); break;
                case 7: Add<Size7, Size1>(count, a, aStride, b, offset, c, cStride); break;
                default: Add<Size8, Size1>(count, a, aStride, b, offset, c, cStride); break;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add<TRows, TVectors>(int count, float* a, nint aStride, float** b, nint offset, float* c, nint cStride)
        where TRows : struct, ISize where TVectors : struct, ISize
    {
        TVector c00 = default, c01 = default;
        TVector c10 = default, c11 = default;
        TVector c20 = default, c21 = default;
        TVector c30 = default, c31 = default;
        TVector c40 = default, c41 = default;
        TVector c50 = default, c51 = default;
        TVector c60 = default, c61 = default;
        TVector c70 = default, c71 = default;
        for (nint m = 0; m < count; m++, a += aStride)
        {
            float* row = b[m] + offset;
            TVector b0 = TSimd.Load(row), b1 = TVectors.Value > 1 ? TSimd.Load(row + TSimd.Count) : default;

            TVector x0 = TSimd.Create(a[0]);
            c00 = TSimd.MultiplyAdd(x0, b0, c00);
            if (TVectors.Value > 1) c01 = TSimd.MultiplyAdd(x0, b1, c01);

            if (TRows.Value > 1)
            {
                TVector x1 = TSimd.Create(a[1]);
                c10 = TSimd.MultiplyAdd(x1, b0, c10);
                if (TVectors.Value > 1) c11 = TSimd.MultiplyAdd(x1, b1, c11);
            }

            if (TRows.Value > 2)
            {
                TVector x2 = TSimd.Create(a[2]);
                c20 = TSimd.MultiplyAdd(x2, b0, c20);
                if (TVectors.Value > 1) c21 = TSimd.MultiplyAdd(x2, b1, c21);
            }

            if (TRows.Value > 3)
            {
                TVector x3 = TSimd.Create(a[3]);
                c30 = TSimd.MultiplyAdd(x3, b0, c30);
                if (TVectors.Value > 1) c31 = TSimd.MultiplyAdd(x3, b1, c31);
            }

            if (TRows.Value > 4)
            {
                TVector x4 = TSimd.Create(a[4]);
                c40 = TSimd.MultiplyAdd(x4, b0, c40);
                if (TVectors.Value > 1) c41 = TSimd.MultiplyAdd(x4, b1, c41);
            }

            if (TRows.Value > 5)
            {
                TVector x5 = TSimd.Create(a[5]);
                c50 = TSimd.MultiplyAdd(x5, b0, c50);
                if (TVectors.Value > 1) c51 = TSimd.MultiplyAdd(x5, b1, c51);
            }

            if (TRows.Value > 6)
            {
                TVector x6 = TSimd.Create(a[6]);
                c60 = TSimd.MultiplyAdd(x6, b0, c60);
                if (TVectors.Value > 1) c61 = TSimd.MultiplyAdd(x6, b1, c61);
            }

            if (TRows.Value > 7)
            {
                TVector x7 = TSimd.Create(a[7]);
                c70 = TSimd.MultiplyAdd(x7, b0, c70);
                if (TVectors.Value > 1) c71 = TSimd.MultiplyAdd(x7, b1, c71);
            }
        }

        AddRow<TVectors>(c, c00, c01);
        if (TRows.Value > 1) AddRow<TVectors>(c + 1 * cStride, c10, c11);
        if (TRows.Value > 2) AddRow<TVectors>(c + 2 * cStride, c20, c21);
        if (TRows.Value > 3) AddRow<TVectors>(c + 3 * cStride, c30, c31);
        if (TRows.Value > 4) AddRow<TVectors>(c + 4 * cStride, c40, c41);
        if (TRows.Value > 5) AddRow<TVectors>(c + 5 * cStride, c50, c51);
        if (TRows.Value > 6) AddRow<TVectors>(c + 6 * cStride, c60, c61);
        if (TRows.Value > 7) AddRow<TVectors>(c + 7 * cStride, c70, c71);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddRow<TVectors>(float* c, TVector first, TVector second) where TVectors : struct, ISize
    {
        TSimd.Store(c, TSimd.Add(TSimd.Load(c), first));
        if (TVectors.Value > 1) TSimd.Store(c + TSimd.Count, TSimd.Add(TSimd.Load(c + TSimd.Count), second));
    }
}

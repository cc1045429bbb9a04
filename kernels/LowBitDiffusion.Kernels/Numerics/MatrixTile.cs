using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>Consecutive elements of a row.</summary>
internal readonly struct MatrixRun(nint offset, nint length)
{
    /// <summary>From the row's first element.</summary>
    public readonly nint Offset = offset;

    /// <summary>How many.</summary>
    public readonly nint Length = length;
}

/// <summary>
/// The innermost loop of every float matrix product: up to eight rows of A, read in place, times one packed panel of B.
/// <code>
///              one panel of B, 2 vectors wide                     A: a row is some runs of consecutive elements, as far from its first
///            ┌───────────┬───────────┐ k = 0                         as those of any other row (a convolution's kernel over an image)
///            │     b0    │     b1    │ k = 1 …
///            └───────────┴───────────┘                            per k: 2 loads of B; per row one broadcast and 2 fused multiply-adds.
///   a0[k] ×  │    c00    │    c01    │                            Sums stay in registers for all of k: 8×2 of the 32 registers of AVX-512
///   a1[k] ×  │    c10    │    c11    │                            (6×2 of 16 with AVX2), enough chains to hide the latency of 4 on 2 ports.
///     …      │     …     │     …     │
/// </code>
/// Every sum is one chain of multiply-adds in the order of k, so tiles of any height and width give the same bits.
/// </summary>
/// <typeparam name="TSimd">Operations.</typeparam>
/// <typeparam name="TVector">Vector.</typeparam>
internal static unsafe class MatrixTile<TSimd, TVector> where TSimd : struct, ISimd<TVector> where TVector : struct
{
    /// <summary>Tallest tile whose sums fit the registers.</summary>
    public static int MaxRows => TSimd.Count == 16 ? 8 : 6;

    /// <summary>Adds to <c>sums[row][column]</c> the products of rows with a panel.</summary>
    /// <param name="rows">Height of the tile, 1 … <see cref="MaxRows"/>.</param>
    /// <param name="vectors">Width of the panel, 1 or 2.</param>
    /// <param name="a">First element of each row.</param>
    /// <param name="runs">Runs of a row.</param>
    /// <param name="runCount">How many.</param>
    /// <param name="panel">B, from the first k on.</param>
    /// <param name="sums">The sums.</param>
    /// <param name="sumsStride">Distance between rows of the sums.</param>
    /// <param name="accumulate">Whether to start from the sums and not from 0.</param>
    public static void Multiply(
        int rows, int vectors, float** a, MatrixRun* runs, int runCount, float* panel, float* sums, nint sumsStride, bool accumulate)
    {
        if (vectors == 2)
        {
            switch (rows)
            {
                case 1: Multiply<Size1, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 2: Multiply<Size2, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 3: Multiply<Size3, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 4: Multiply<Size4, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 5: Multiply<Size5, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 6: Multiply<Size6, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 7: Multiply<Size7, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                default: Multiply<Size8, Size2>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
            }
        }
        else
        {
            switch (rows)
            {
                case 1: Multiply<Size1, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 2: Multiply<Size2, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 3: Multiply<Size3, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 4: Multiply<Size4, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 5: Multiply<Size5, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 6: Multiply<Size6, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                case 7: Multiply<Size7, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
                default: Multiply<Size8, Size1>(a, runs, runCount, panel, sums, sumsStride, accumulate); break;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply<TRows, TVectors>(
        float** a, MatrixRun* runs, int runCount, float* panel, float* sums, nint sumsStride, bool accumulate)
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
        if (accumulate)
        {
            c00 = TSimd.Load(sums + 0 * sumsStride);
            if (TVectors.Value > 1) c01 = TSimd.Load(sums + 0 * sumsStride + TSimd.Count);

            if (TRows.Value > 1)
            {
                c10 = TSimd.Load(sums + 1 * sumsStride);
                if (TVectors.Value > 1) c11 = TSimd.Load(sums + 1 * sumsStride + TSimd.Count);
            }

            if (TRows.Value > 2)
            {
                c20 = TSimd.Load(sums + 2 * sumsStride);
                if (TVectors.Value > 1) c21 = TSimd.Load(sums + 2 * sumsStride + TSimd.Count);
            }

            if (TRows.Value > 3)
            {
                c30 = TSimd.Load(sums + 3 * sumsStride);
                if (TVectors.Value > 1) c31 = TSimd.Load(sums + 3 * sumsStride + TSimd.Count);
            }

            if (TRows.Value > 4)
            {
                c40 = TSimd.Load(sums + 4 * sumsStride);
                if (TVectors.Value > 1) c41 = TSimd.Load(sums + 4 * sumsStride + TSimd.Count);
            }

            if (TRows.Value > 5)
            {
                c50 = TSimd.Load(sums + 5 * sumsStride);
                if (TVectors.Value > 1) c51 = TSimd.Load(sums + 5 * sumsStride + TSimd.Count);
            }

            if (TRows.Value > 6)
            {
                c60 = TSimd.Load(sums + 6 * sumsStride);
                if (TVectors.Value > 1) c61 = TSimd.Load(sums + 6 * sumsStride + TSimd.Count);
            }

            if (TRows.Value > 7)
            {
                c70 = TSimd.Load(sums + 7 * sumsStride);
                if (TVectors.Value > 1) c71 = TSimd.Load(sums + 7 * sumsStride + TSimd.Count);
            }
        }

        for (int i = 0; i < runCount; i++)
        {
            nint offset = runs[i].Offset, run = runs[i].Length;
            float* a0 = a[0] + offset;
            float* a1 = TRows.Value > 1 ? a[1] + offset : a0;
            float* a2 = TRows.Value > 2 ? a[2] + offset : a0;
            float* a3 = TRows.Value > 3 ? a[3] + offset : a0;
            float* a4 = TRows.Value > 4 ? a[4] + offset : a0;
            float* a5 = TRows.Value > 5 ? a[5] + offset : a0;
            float* a6 = TRows.Value > 6 ? a[6] + offset : a0;
            float* a7 = TRows.Value > 7 ? a[7] + offset : a0;
            for (nint k = 0; k < run; k++)
            {
                TVector b0 = TSimd.Load(panel), b1 = TVectors.Value > 1 ? TSimd.Load(panel + TSimd.Count) : default;
                panel += TVectors.Value * TSimd.Count;

                TVector x0 = TSimd.Create(a0[k]);
                c00 = TSimd.MultiplyAdd(x0, b0, c00);
                if (TVectors.Value > 1) c01 = TSimd.MultiplyAdd(x0, b1, c01);

                if (TRows.Value > 1)
                {
                    TVector x1 = TSimd.Create(a1[k]);
                    c10 = TSimd.MultiplyAdd(x1, b0, c10);
                    if (TVectors.Value > 1) c11 = TSimd.MultiplyAdd(x1, b1, c11);
                }

                if (TRows.Value > 2)
                {
                    TVector x2 = TSimd.Create(a2[k]);
                    c20 = TSimd.MultiplyAdd(x2, b0, c20);
                    if (TVectors.Value > 1) c21 = TSimd.MultiplyAdd(x2, b1, c21);
                }

                if (TRows.Value > 3)
                {
                    TVector x3 = TSimd.Create(a3[k]);
                    c30 = TSimd.MultiplyAdd(x3, b0, c30);
                    if (TVectors.Value > 1) c31 = TSimd.MultiplyAdd(x3, b1, c31);
                }

                if (TRows.Value > 4)
                {
                    TVector x4 = TSimd.Create(a4[k]);
                    c40 = TSimd.MultiplyAdd(x4, b0, c40);
                    if (TVectors.Value > 1) c41 = TSimd.MultiplyAdd(x4, b1, c41);
                }

                if (TRows.Value > 5)
                {
                    TVector x5 = TSimd.Create(a5[k]);
                    c50 = TSimd.MultiplyAdd(x5, b0, c50);
                    if (TVectors.Value > 1) c51 = TSimd.MultiplyAdd(x5, b1, c51);
                }

                if (TRows.Value > 6)
                {
                    TVector x6 = TSimd.Create(a6[k]);
                    c60 = TSimd.MultiplyAdd(x6, b0, c60);
                    if (TVectors.Value > 1) c61 = TSimd.MultiplyAdd(x6, b1, c61);
                }

                if (TRows.Value > 7)
                {
                    TVector x7 = TSimd.Create(a7[k]);
                    c70 = TSimd.MultiplyAdd(x7, b0, c70);
                    if (TVectors.Value > 1) c71 = TSimd.MultiplyAdd(x7, b1, c71);
                }
            }
        }

        TSimd.Store(sums + 0 * sumsStride, c00);
        if (TVectors.Value > 1) TSimd.Store(sums + 0 * sumsStride + TSimd.Count, c01);

        if (TRows.Value > 1)
        {
            TSimd.Store(sums + 1 * sumsStride, c10);
            if (TVectors.Value > 1) TSimd.Store(sums + 1 * sumsStride + TSimd.Count, c11);
        }

        if (TRows.Value > 2)
        {
            TSimd.Store(sums + 2 * sumsStride, c20);
            if (TVectors.Value > 1) TSimd.Store(sums + 2 * sumsStride + TSimd.Count, c21);
        }

        if (TRows.Value > 3)
        {
            TSimd.Store(sums + 3 * sumsStride, c30);
            if (TVectors.Value > 1) TSimd.Store(sums + 3 * sumsStride + TSimd.Count, c31);
        }

        if (TRows.Value > 4)
        {
            TSimd.Store(sums + 4 * sumsStride, c40);
            if (TVectors.Value > 1) TSimd.Store(sums + 4 * sumsStride + TSimd.Count, c41);
        }

        if (TRows.Value > 5)
        {
            TSimd.Store(sums + 5 * sumsStride, c50);
            if (TVectors.Value > 1) TSimd.Store(sums + 5 * sumsStride + TSimd.Count, c51);
        }

        if (TRows.Value > 6)
        {
            TSimd.Store(sums + 6 * sumsStride, c60);
            if (TVectors.Value > 1) TSimd.Store(sums + 6 * sumsStride + TSimd.Count, c61);
        }

        if (TRows.Value > 7)
        {
            TSimd.Store(sums + 7 * sumsStride, c70);
            if (TVectors.Value > 1) TSimd.Store(sums + 7 * sumsStride + TSimd.Count, c71);
        }
    }
}

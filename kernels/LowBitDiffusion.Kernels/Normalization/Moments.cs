using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Normalization;

/// <summary>Sums and sums of squares in double precision, in an order that does not depend on the width of the vectors.</summary>
internal static unsafe class Moments
{
    /// <summary>Interleaved partial sums of a row: channel c goes to sum c mod 32.</summary>
    private const int RowLanes = 32;

    /// <summary>Of each column over some rows: one chain per column.</summary>
    public static void OfColumns<TWide, TVector>(float* source, nint stride, int rows, int columns, double* sums, double* squares)
        where TWide : struct, IWide<TVector> where TVector : struct
    {
        int column = FourVectors<TWide, TVector>(source, stride, rows, 0, columns, sums, squares);
        FourVectors<Wide1, double>(source, stride, rows, column, columns, sums, squares);
    }

    /// <summary>Of one row; <paramref name="lanes"/> is room for 64 doubles.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void OfRow<TWide, TVector>(float* row, int channels, double* lanes, out double sum, out double square)
        where TWide : struct, IWide<TVector> where TVector : struct
    {
        new Span<double>(lanes, 2 * RowLanes).Clear();
        int channel = 0;
        for (; channel <= channels - RowLanes; channel += RowLanes)
        {
            for (int lane = 0; lane < RowLanes; lane += TWide.Count)
            {
                TVector x = TWide.Widen(row + channel + lane);
                TWide.Store(lanes + lane, TWide.Add(TWide.Load(lanes + lane), x));
                TWide.Store(lanes + RowLanes + lane, TWide.AddSquare(TWide.Load(lanes + RowLanes + lane), x));
            }
        }

        for (int lane = 0; channel + lane < channels; lane++)
        {
            double x = row[channel + lane];
            lanes[lane] += x;
            lanes[RowLanes + lane] += x * x;
        }

        for (int half = RowLanes / 2; half > 0; half /= 2)
        {
            Accumulate<TWide, TVector>(lanes, lanes + half, half);
            Accumulate<TWide, TVector>(lanes + RowLanes, lanes + RowLanes + half, half);
        }

        sum = lanes[0];
        square = lanes[RowLanes];
    }

    /// <summary>Adds sums to sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Accumulate<TWide, TVector>(double* sums, double* more, int count) where TWide : struct, IWide<TVector> where TVector : struct
    {
        int i = 0;
        for (; i <= count - TWide.Count; i += TWide.Count) TWide.Store(sums + i, TWide.Add(TWide.Load(sums + i), TWide.Load(more + i)));
        for (; i < count; i++) sums[i] += more[i];
    }

    /// <summary>Columns in blocks of four vectors, so that the additions' latency is hidden; returns the first column that is left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int FourVectors<TWide, TVector>(float* source, nint stride, int rows, int column, int columns, double* sums, double* squares)
        where TWide : struct, IWide<TVector> where TVector : struct
    {
        int n = TWide.Count;
        for (; column <= columns - 4 * n; column += 4 * n)
        {
            TVector s0 = default, s1 = default, s2 = default, s3 = default, q0 = default, q1 = default, q2 = default, q3 = default;
            float* x = source + column;
            for (int row = 0; row < rows; row++, x += stride)
            {
                TVector x0 = TWide.Widen(x), x1 = TWide.Widen(x + n), x2 = TWide.Widen(x + 2 * n), x3 = TWide.Widen(x + 3 * n);
                s0 = TWide.Add(s0, x0);
                s1 = TWide.Add(s1, x1);
                s2 = TWide.Add(s2, x2);
                s3 = TWide.Add(s3, x3);
                q0 = TWide.AddSquare(q0, x0);
                q1 = TWide.AddSquare(q1, x1);
                q2 = TWide.AddSquare(q2, x2);
                q3 = TWide.AddSquare(q3, x3);
            }

            TWide.Store(sums + column, s0);
            TWide.Store(sums + column + n, s1);
            TWide.Store(sums + column + 2 * n, s2);
            TWide.Store(sums + column + 3 * n, s3);
            TWide.Store(squares + column, q0);
            TWide.Store(squares + column + n, q1);
            TWide.Store(squares + column + 2 * n, q2);
            TWide.Store(squares + column + 3 * n, q3);
        }

        for (; column <= columns - n; column += n)
        {
            TVector sum = default, square = default;
            float* x = source + column;
            for (int row = 0; row < rows; row++, x += stride)
            {
                TVector value = TWide.Widen(x);
                sum = TWide.Add(sum, value);
                square = TWide.AddSquare(square, value);
            }

            TWide.Store(sums + column, sum);
            TWide.Store(squares + column, square);
        }

        return column;
    }
}

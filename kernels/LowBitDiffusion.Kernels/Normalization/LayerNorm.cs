using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Normalization;

/// <summary>Layer normalisation over the channels of each row (Ba et al. 2016).</summary>
public static unsafe class LayerNorm
{
    private const int PieceElements = 16 << 10;

    /// <summary>
    /// Mean and <c>1/√(var + ε)</c> (biased variance) of each row. Sums are in double precision over 32 interleaved partial sums: the same bits for every
    /// level.
    /// </summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Rows and channels.</param>
    /// <param name="input">Rows.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="mean">One mean per row.</param>
    /// <param name="inverseDeviation">One 1/√(var + ε) per row.</param>
    /// <param name="level">Instruction set; the result does not depend on it.</param>
    public static void Statistics(
        WorkerPool pool, in RowShape shape, RowView input, float epsilon, float* mean, float* inverseDeviation, SimdLevel level = SimdLevel.Auto)
    {
        StatisticsJob job = new(pool, shape, input, epsilon, mean, inverseDeviation);
        SimdDispatch.RunWide(level, ref job);
    }

    /// <summary><c>(x − mean)·inverseDeviation·weight[c] + bias[c]</c> for each row.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Rows and channels.</param>
    /// <param name="input">Rows.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="weight">One factor per channel, or null for neither factor nor bias.</param>
    /// <param name="bias">One offset per channel; given exactly where <paramref name="weight"/> is.</param>
    /// <param name="output">Rows; may be the input.</param>
    /// <param name="level">Instruction set; the result does not depend on it.</param>
    public static void Apply(
        WorkerPool pool, in RowShape shape, RowView input, float epsilon, float* weight, float* bias, RowView output, SimdLevel level = SimdLevel.Auto)
    {
        if ((weight == null) != (bias == null)) throw new ArgumentException("weight and bias come together", nameof(bias));
        ApplyJob job = new(pool, shape, input, epsilon, weight, bias, output, level);
        SimdDispatch.RunWide(level, ref job);
    }

    private static int PieceRows(in RowShape shape) => Math.Max(1, PieceElements / shape.Channels);

    private static int Pieces(in RowShape shape) => (shape.Rows + PieceRows(shape) - 1) / PieceRows(shape);

    private static (float Mean, float InverseDeviation) Fold(double sum, double square, int channels, float epsilon)
    {
        double mean = sum / channels;
        return ((float)mean, (float)(1 / Math.Sqrt(Math.Max(0, square / channels - mean * mean) + epsilon)));
    }

    private readonly struct StatisticsJob(WorkerPool pool, RowShape shape, RowView input, float epsilon, float* mean, float* inverseDeviation) : IWideJob
    {
        public void Run<TWide, TVector>() where TWide : struct, IWide<TVector> where TVector : struct =>
            pool.For(Pieces(shape), new StatisticsBody<TWide, TVector>(shape, input, epsilon, mean, inverseDeviation));
    }

    [SkipLocalsInit]
    private readonly struct StatisticsBody<TWide, TVector>(RowShape shape, RowView input, float epsilon, float* mean, float* inverseDeviation) : IParallelBody
        where TWide : struct, IWide<TVector> where TVector : struct
    {
        public void Run(int index)
        {
            double* lanes = stackalloc double[64];
            int first = index * PieceRows(shape), last = Math.Min(first + PieceRows(shape), shape.Rows);
            for (int row = first; row < last; row++)
            {
                Moments.OfRow<TWide, TVector>(input.Row(row), shape.Channels, lanes, out double sum, out double square);
                (mean[row], inverseDeviation[row]) = Fold(sum, square, shape.Channels, epsilon);
            }
        }
    }

    private readonly struct ApplyJob(
        WorkerPool pool, RowShape shape, RowView input, float epsilon, float* weight, float* bias, RowView output, SimdLevel level) : IWideJob
    {
        public void Run<TWide, TVector>() where TWide : struct, IWide<TVector> where TVector : struct
        {
            ApplyWideJob<TWide, TVector> job = new(pool, shape, input, epsilon, weight, bias, output);
            SimdDispatch.Run(level, ref job);
        }
    }

    private readonly struct ApplyWideJob<TWide, TDoubles>(
        WorkerPool pool, RowShape shape, RowView input, float epsilon, float* weight, float* bias, RowView output) : ISimdJob
        where TWide : struct, IWide<TDoubles> where TDoubles : struct
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct =>
            pool.For(Pieces(shape), new ApplyBody<TWide, TDoubles, TSimd, TVector>(shape, input, epsilon, weight, bias, output));
    }

    [SkipLocalsInit]
    private readonly struct ApplyBody<TWide, TDoubles, TSimd, TVector>(
        RowShape shape, RowView input, float epsilon, float* weight, float* bias, RowView output) : IParallelBody
        where TWide : struct, IWide<TDoubles> where TDoubles : struct where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        public void Run(int index)
        {
            double* lanes = stackalloc double[64];
            int first = index * PieceRows(shape), last = Math.Min(first + PieceRows(shape), shape.Rows);
            for (int row = first; row < last; row++)
            {
                Moments.OfRow<TWide, TDoubles>(input.Row(row), shape.Channels, lanes, out double sum, out double square);
                (float mean, float inverseDeviation) = Fold(sum, square, shape.Channels, epsilon);
                StagingRange range = new() { Source = input.Row(row), Factor = weight, Offset = bias, Mean = mean, InverseDeviation = inverseDeviation };
                StagingRow<RowNormalization, IdentityActivation, Floats, float>.Write<TSimd, TVector>(range, output.Row(row), shape.Channels, 1, 0);
            }
        }
    }
}

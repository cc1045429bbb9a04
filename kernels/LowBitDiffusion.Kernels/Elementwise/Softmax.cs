using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Softmax over the channels of each row. The same bits at every level.</summary>
public static unsafe class Softmax
{
    private const int PieceElements = 16 << 10;

    /// <summary><c>output[c] = e^(x[c] − max) / Σ e^(x − max)</c>; the output may be the input.</summary>
    public static void Apply(WorkerPool pool, in RowShape shape, RowView x, RowView output, SimdLevel level = SimdLevel.Auto)
    {
        LevelJob job = new(pool, shape, x, output);
        SimdDispatch.Run(level, ref job);
    }

    private readonly struct LevelJob(WorkerPool pool, RowShape shape, RowView x, RowView output) : ISimdJob
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            int height = Math.Max(1, PieceElements / shape.Channels);
            pool.For((shape.Rows + height - 1) / height, new Body<TSimd, TVector>(shape, x, output, height));
        }
    }

    private readonly struct Body<TSimd, TVector>(RowShape shape, RowView x, RowView output, int height) : IParallelBody
        where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        public void Run(int index)
        {
            float* lanes = stackalloc float[SoftmaxRow<TSimd, TVector>.Lanes];
            int last = Math.Min((index + 1) * height, shape.Rows);
            for (int row = index * height; row < last; row++)
            {
                float* source = x.Row(row), destination = output.Row(row);
                float max = SoftmaxRow<TSimd, TVector>.Max(source, shape.Channels, float.MinValue);
                new Span<float>(lanes, SoftmaxRow<TSimd, TVector>.Lanes).Clear();
                SoftmaxRow<TSimd, TVector>.Exponentiate(source, destination, shape.Channels, max, lanes);
                SoftmaxRow<TSimd, TVector>.Scale(destination, destination, shape.Channels, 1 / SoftmaxRow<TSimd, TVector>.Sum(lanes));
            }
        }
    }
}

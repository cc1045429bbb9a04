using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Changes the size of NHWC images. The same bits at every level.</summary>
public static unsafe class Resampling
{
    /// <summary>Nearest neighbour: destination (y, x) reads source (⌊y·height/outHeight⌋, ⌊x·width/outWidth⌋).</summary>
    public static void Nearest(
        WorkerPool pool, int batch, int height, int width, int channels, RowView source, int outHeight, int outWidth, RowView destination) =>
        pool.For(batch * outHeight, new NearestBody(height, width, channels, source, outHeight, outWidth, destination));

    /// <summary>Mean over 2×2 blocks, <c>((a + b) + (c + d))·¼</c>; an odd last row or column is dropped.</summary>
    public static void AveragePool(
        WorkerPool pool, int batch, int height, int width, int channels, RowView source, RowView destination, SimdLevel level = SimdLevel.Auto)
    {
        PoolJob job = new(pool, batch, height, width, channels, source, destination);
        SimdDispatch.Run(level, ref job);
    }

    private readonly struct NearestBody(int height, int width, int channels, RowView source, int outHeight, int outWidth, RowView destination) : IParallelBody
    {
        public void Run(int index)
        {
            int image = index / outHeight, y = index % outHeight;
            nint sourceRow = (nint)image * height + (int)((long)y * height / outHeight);
            for (int x = 0; x < outWidth; x++)
            {
                float* from = source.Row(sourceRow * width + (int)((long)x * width / outWidth));
                Buffer.MemoryCopy(from, destination.Row((nint)index * outWidth + x), (long)channels * sizeof(float), (long)channels * sizeof(float));
            }
        }
    }

    private readonly struct PoolJob(WorkerPool pool, int batch, int height, int width, int channels, RowView source, RowView destination) : ISimdJob
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct =>
            pool.For(batch * (height / 2), new PoolBody<TSimd, TVector>(height, width, channels, source, destination));
    }

    private readonly struct PoolBody<TSimd, TVector>(int height, int width, int channels, RowView source, RowView destination) : IParallelBody
        where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        public void Run(int index)
        {
            int outHeight = height / 2, outWidth = width / 2, image = index / outHeight, y = index % outHeight;
            nint pixel = ((nint)image * height + 2 * y) * width;
            for (int x = 0; x < outWidth; x++, pixel += 2)
            {
                float* above = source.Row(pixel), below = source.Row(pixel + width), output = destination.Row((nint)index * outWidth + x);
                int channel = Mean<TSimd, TVector>(above, below, output, 0);
                Mean<Simd1, float>(above, below, output, channel);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private int Mean<TLanes, TValue>(float* above, float* below, float* output, int channel) where TLanes : struct, ISimd<TValue> where TValue : struct
        {
            for (; channel <= channels - TLanes.Count; channel += TLanes.Count)
            {
                TValue top = TLanes.Add(TLanes.Load(above + channel), TLanes.Load(above + source.Stride + channel));
                TValue bottom = TLanes.Add(TLanes.Load(below + channel), TLanes.Load(below + source.Stride + channel));
                TLanes.Store(output + channel, TLanes.Multiply(TLanes.Add(top, bottom), TLanes.Create(0.25f)));
            }

            return channel;
        }
    }
}

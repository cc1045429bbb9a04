using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Changes the size of NHWC images.</summary>
public static unsafe class Resampling
{
    /// <summary>Nearest neighbour: destination (y, x) reads source (⌊y·height/outHeight⌋, ⌊x·width/outWidth⌋).</summary>
    public static void Nearest(
        WorkerPool pool, int batch, int height, int width, int channels, RowView source, int outHeight, int outWidth, RowView destination) => throw new NotImplementedException();

    /// <summary>Mean over 2×2 blocks, <c>((a + b) + (c + d))·¼</c>; an odd last row or column is dropped. The same bits at every level.</summary>
    public static void AveragePool(
        WorkerPool pool, int batch, int height, int width, int channels, RowView source, RowView destination, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();
}

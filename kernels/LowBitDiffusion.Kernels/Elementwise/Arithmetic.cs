using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Arithmetic on rows. Outputs may be one of the inputs. Each operation rounds to float once: the same bits at every level.</summary>
public static unsafe class Arithmetic
{
    /// <summary><c>output = x + y</c>.</summary>
    public static void Add(WorkerPool pool, in RowShape shape, RowView x, RowView y, Broadcast broadcast, RowView output, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary><c>output = x·y</c>.</summary>
    public static void Multiply(WorkerPool pool, in RowShape shape, RowView x, RowView y, Broadcast broadcast, RowView output, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary><c>output = factor·x + offset</c>, two roundings.</summary>
    public static void Affine(WorkerPool pool, in RowShape shape, RowView x, float factor, float offset, RowView output, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary><c>output = x / divisor[b]</c>.</summary>
    public static void Divide(WorkerPool pool, in RowShape shape, RowView x, float* divisor, RowView output, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary><c>output = x·(1 + scale) + shift</c>, three roundings.</summary>
    public static void Modulate(WorkerPool pool, in RowShape shape, RowView x, RowView scale, RowView shift, Broadcast broadcast, RowView output, SimdLevel level = SimdLevel.Auto) =>
        throw new NotImplementedException();
}

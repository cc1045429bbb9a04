using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Arithmetic on rows. Outputs may be one of the inputs. Operations round one by one, never fused: the same bits at every level.</summary>
public static unsafe class Arithmetic
{
    /// <summary><c>output = x + y</c>.</summary>
    public static void Add(WorkerPool pool, in RowShape shape, RowView x, RowView y, Broadcast broadcast, RowView output, SimdLevel level = SimdLevel.Auto) =>
        RowLoop.Run(pool, shape, x, y, y, broadcast, output, new AddOperator(), level);

    /// <summary><c>output = x·y</c>.</summary>
    public static void Multiply(WorkerPool pool, in RowShape shape, RowView x, RowView y, Broadcast broadcast, RowView output, SimdLevel level = SimdLevel.Auto) =>
        RowLoop.Run(pool, shape, x, y, y, broadcast, output, new MultiplyOperator(), level);

    /// <summary><c>output = factor·x + offset</c>, two roundings.</summary>
    public static void Affine(WorkerPool pool, in RowShape shape, RowView x, float factor, float offset, RowView output, SimdLevel level = SimdLevel.Auto) =>
        RowLoop.Run(pool, shape, x, default, default, Broadcast.None, output, new AffineOperator(factor, offset), level);

    /// <summary><c>output = x / divisor[b]</c>.</summary>
    public static void Divide(WorkerPool pool, in RowShape shape, RowView x, float* divisor, RowView output, SimdLevel level = SimdLevel.Auto)
    {
        RowShape one = shape with { Batch = 1 };
        for (int image = 0; image < shape.Batch; image++)
        {
            nint first = (nint)image * shape.RowsPerImage;
            RowView source = new(x.Row(first), x.Stride), destination = new(output.Row(first), output.Stride);
            RowLoop.Run(pool, one, source, default, default, Broadcast.None, destination, new DivideOperator(divisor[image]), level);
        }
    }

    /// <summary><c>output = x·(1 + scale) + shift</c>, three roundings; scale and shift are broadcast alike.</summary>
    public static void Modulate(
        WorkerPool pool, in RowShape shape, RowView x, RowView scale, RowView shift, Broadcast broadcast, RowView output, SimdLevel level = SimdLevel.Auto) =>
        RowLoop.Run(pool, shape, x, scale, shift, broadcast, output, new ModulateOperator(), level);
}

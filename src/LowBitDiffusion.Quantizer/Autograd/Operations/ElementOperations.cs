using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary><see cref="AddOp"/>.</summary>
internal sealed class AddOperation(Broadcast second) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => Rowwise.Map(context.Pool, second, x[0], x[1], new Sum());

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) => [dy, wanted[1] ? second.Reduce(context.Pool, dy) : null];
}

/// <summary><see cref="MultiplyOp"/>.</summary>
internal sealed class MultiplyOperation(Broadcast second) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => Rowwise.Map(context.Pool, second, x[0], x[1], new Product());

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) =>
    [
        wanted[0] ? Rowwise.Map(context.Pool, second, dy, x[1], new Product()) : null,
        wanted[1] ? second.Reduce(context.Pool, context.Pool.Map(dy, x[0], null, new Product())) : null,
    ];
}

/// <summary><see cref="ModulateOp"/>: <c>x·(1 + scale) + shift</c>.</summary>
internal sealed class ModulateOperation(Broadcast scale, Broadcast shift) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => Rowwise.Map(context.Pool, shift, Rowwise.Map(context.Pool, scale, x[0], x[1], new ProductOfOnePlus()), x[2], new Sum());

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) =>
    [
        wanted[0] ? Rowwise.Map(context.Pool, scale, dy, x[1], new ProductOfOnePlus()) : null,
        wanted[1] ? scale.Reduce(context.Pool, context.Pool.Map(dy, x[0], null, new Product())) : null,
        wanted[2] ? shift.Reduce(context.Pool, dy) : null,
    ];

    private readonly struct ProductOfOnePlus : IFunction
    {
        public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a * (Vector256<float>.One + b);
    }
}

/// <summary><see cref="AffineOp"/>.</summary>
internal sealed class AffineOperation(AffineOp op) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => context.Pool.Map(x[0], null, null, new Line(op.Factor, op.Offset));

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) => [context.Pool.Map(dy, null, null, new Line(op.Factor, 0))];
}

/// <summary><see cref="DivideOp"/>; the divisor is a timestep and has no gradient.</summary>
internal sealed class DivideOperation : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => Divide(x[0], x[1]);

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        if (!wanted[1]) return [Divide(dy, x[1]), null];
        int image = dy.Length / x[1].Length;
        float[] divisors = new float[x[1].Length];
        for (int n = 0; n < divisors.Length; n++)
        {
            double sum = 0;
            for (int i = n * image; i < (n + 1) * image; i++) sum -= (double)dy[i] * y[i];
            divisors[n] = (float)(sum / x[1][n]);
        }

        return [Divide(dy, x[1]), divisors];
    }

    private static float[] Divide(float[] x, float[] divisors)
    {
        int image = x.Length / divisors.Length;
        float[] result = Vectors.Allocate(x.Length);
        for (int i = 0; i < x.Length; i++) result[i] = x[i] / divisors[i / image];
        return result;
    }
}

/// <summary><see cref="ClampOp"/>.</summary>
internal sealed class ClampOperation(ClampOp op) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => Array.ConvertAll(x[0], value => Math.Clamp(value, op.Minimum, op.Maximum));

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) =>
        [[.. dy.Zip(x[0], (gradient, value) => value >= op.Minimum && value <= op.Maximum ? gradient : 0)]];
}

/// <summary>Loops over rows with a broadcast operand.</summary>
internal static class Rowwise
{
    public static float[] Map<TFunction>(WorkerPool pool, Broadcast broadcast, float[] x, float[] y, TFunction function) where TFunction : struct, IFunction
    {
        if (broadcast.IsWhole) return pool.Map(x, y, null, function);
        float[] result = Vectors.Allocate(x.Length);
        int channels = broadcast.Channels;
        pool.Chunks(broadcast.XRows, Math.Max(1, Vectors.Grain / channels), (start, end) =>
        {
            for (int row = start; row < end; row++)
                Vectors.Map(x.AsSpan(row * channels, channels), broadcast.Of(y, row), default, result.AsSpan(row * channels, channels), function);
        });
        return result;
    }
}

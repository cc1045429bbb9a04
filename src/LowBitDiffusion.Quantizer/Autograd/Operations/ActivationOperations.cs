using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary><see cref="ActivationOp"/>.</summary>
internal sealed class ActivationOperation(ActivationKind kind) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => kind switch
    {
        ActivationKind.Silu => context.Pool.Map(x[0], null, null, new Swish(1)),
        ActivationKind.QuickGelu => context.Pool.Map(x[0], null, null, new Swish(1.702f)),
        ActivationKind.GeluTanh => context.Pool.Map(x[0], null, null, new GeluTanh()),
        ActivationKind.Gelu => context.Pool.Map(x[0], null, null, new Gelu()),
        ActivationKind.Exp => context.Pool.Map(x[0], null, null, new Exponential()),
        _ => throw new NotSupportedException($"activation {kind}"),
    };

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) => kind switch
    {
        ActivationKind.Silu => [context.Pool.Map(x[0], dy, null, new SwishGradient(1))],
        ActivationKind.QuickGelu => [context.Pool.Map(x[0], dy, null, new SwishGradient(1.702f))],
        ActivationKind.GeluTanh => [context.Pool.Map(x[0], dy, null, new GeluTanhGradient())],
        ActivationKind.Gelu => [context.Pool.Map(x[0], dy, null, new GeluGradient())],
        _ => [context.Pool.Map(y, dy, null, new Product())],
    };
}

/// <summary><see cref="GegluOp"/>: <c>a·gelu(b)</c> of the halves a, b of each row.</summary>
internal sealed class GegluOperation(int channels) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = Vectors.Allocate(x[0].Length / 2);
        ForRows(context.Pool, y.Length, row =>
        {
            Span<float> result = y.AsSpan(row * channels, channels);
            Vectors.Map(Half(x[0], row, 1), default, default, result, new Gelu());
            Vectors.Map(result, Half(x[0], row, 0), default, result, new Product());
        });
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        float[] dx = Vectors.Allocate(x[0].Length);
        ForRows(context.Pool, dy.Length, row =>
        {
            ReadOnlySpan<float> upstream = dy.AsSpan(row * channels, channels);
            Span<float> first = Half(dx, row, 0), second = Half(dx, row, 1);
            Vectors.Map(Half(x[0], row, 1), default, default, first, new Gelu());
            Vectors.Map(first, upstream, default, first, new Product());
            Vectors.Map(Half(x[0], row, 1), upstream, default, second, new GeluGradient());
            Vectors.Map(second, Half(x[0], row, 0), default, second, new Product());
        });
        return [dx];
    }

    private Span<float> Half(float[] x, int row, int half) => x.AsSpan((2 * row + half) * channels, channels);

    private void ForRows(WorkerPool pool, int elements, Action<int> body) => pool.Chunks(elements / channels, Math.Max(1, Vectors.Grain / channels), (start, end) =>
    {
        for (int row = start; row < end; row++) body(row);
    });
}

/// <summary><c>x·sigmoid(slope·x)</c>.</summary>
internal readonly struct Swish(float slope) : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a / (Vector256<float>.One + Vector256.Exp(a * -slope));
}

/// <summary><c>dy·s·(1 + slope·x·(1 − s))</c>, s = sigmoid(slope·x).</summary>
internal readonly struct SwishGradient(float slope) : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c)
    {
        Vector256<float> one = Vector256<float>.One, s = one / (one + Vector256.Exp(a * -slope));
        return b * s * (one + a * slope * (one - s));
    }
}

/// <summary><c>½x(1 + tanh u)</c>, u = √(2/π)(x + 0.044715x³).</summary>
internal readonly struct GeluTanh : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a * 0.5f * (Vector256<float>.One + Tanh(a));

    // tanh u = 1 − 2/(1 + e^2u); beyond 20 the exponential would overflow for nothing.
    public static Vector256<float> Tanh(Vector256<float> x)
    {
        Vector256<float> u = (x + x * x * x * 0.044715f) * 0.79788456f;
        return Vector256<float>.One - Vector256.Create(2f) / (Vector256<float>.One + Vector256.Exp(Vector256.Min(u, Vector256.Create(20f)) * 2f));
    }
}

/// <summary><c>dy·(½(1 + t) + ½x(1 − t²)·u′)</c>, t = tanh u.</summary>
internal readonly struct GeluTanhGradient : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c)
    {
        Vector256<float> one = Vector256<float>.One, t = GeluTanh.Tanh(a), slope = (one + a * a * (3 * 0.044715f)) * 0.79788456f;
        return b * ((one + t) * 0.5f + a * 0.5f * (one - t * t) * slope);
    }
}

/// <summary><c>x·Φ(x)</c>, Φ(x) = ½(1 + erf(x/√2)).</summary>
internal readonly struct Gelu : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => a * Normal(a);

    public static Vector256<float> Normal(Vector256<float> x)
    {
        Vector256<float> result = default;
        for (int lane = 0; lane < Vector256<float>.Count; lane++) result = result.WithElement(lane, Functions.Phi(x[lane]));
        return result;
    }
}

/// <summary><c>dy·(Φ(x) + x·φ(x))</c>, φ(x) = e^(−x²/2)/√(2π).</summary>
internal readonly struct GeluGradient : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => b * (Gelu.Normal(a) + a * Vector256.Exp(a * a * -0.5f) * 0.39894228f);
}

/// <summary><c>eˣ</c>.</summary>
internal readonly struct Exponential : IFunction
{
    public Vector256<float> Invoke(Vector256<float> a, Vector256<float> b, Vector256<float> c) => Vector256.Exp(a);
}

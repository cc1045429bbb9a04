using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>Ops on single elements. Sums and products are single precision, one rounding each, as a kernel's epilogue has them; functions are evaluated in double.</summary>
internal static class ElementArithmetic
{
    public static float[] Map(float[] x, Func<float, float> function) => Array.ConvertAll(x, value => function(value));

    public static float[] Activation(ActivationKind kind, float[] x) => Map(x, value => (float)Activate(kind, value));

    public static double Activate(ActivationKind kind, double x) => kind switch
    {
        ActivationKind.Silu => x / (1 + Math.Exp(-x)),
        ActivationKind.Gelu => 0.5 * x * ErrorFunction.Complement(-x / Math.Sqrt(2)),
        ActivationKind.GeluTanh => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
        ActivationKind.QuickGelu => x / (1 + Math.Exp(-1.702 * x)),
        _ => throw new NotSupportedException($"activation {kind}"),
    };

    /// <summary>Applies a function to pairs; the second operand repeats as <see cref="AddOp"/> says.</summary>
    public static float[] Broadcast(float[] x, TensorShape xShape, float[] y, TensorShape yShape, Func<float, float, float> function)
    {
        float[] result = new float[x.Length];
        for (int i = 0; i < x.Length; i++) result[i] = function(x[i], y[BroadcastIndex(i, xShape, yShape)]);
        return result;
    }

    public static float[] Modulate(float[] x, TensorShape shape, float[] scale, TensorShape scaleShape, float[] shift, TensorShape shiftShape)
    {
        float[] result = new float[x.Length];
        for (int i = 0; i < x.Length; i++) result[i] = x[i] * (1 + scale[BroadcastIndex(i, shape, scaleShape)]) + shift[BroadcastIndex(i, shape, shiftShape)];
        return result;
    }

    public static float[] DividePerImage(float[] x, float[] divisors)
    {
        int image = x.Length / divisors.Length;
        float[] result = new float[x.Length];
        for (int i = 0; i < x.Length; i++) result[i] = x[i] / divisors[i / image];
        return result;
    }

    public static float[] Geglu(float[] x, int channels)
    {
        float[] y = new float[x.Length / 2];
        for (int i = 0; i < y.Length; i++)
        {
            int first = i / channels * 2 * channels + i % channels;
            y[i] = (float)(x[first] * Activate(ActivationKind.Gelu, x[first + channels]));
        }

        return y;
    }

    /// <summary>The element of <paramref name="y"/> that meets element <paramref name="i"/> of <paramref name="x"/>.</summary>
    private static int BroadcastIndex(int i, TensorShape x, TensorShape y)
    {
        if (y.Equals(x)) return i;
        int image = (int)(x.Elements / x[0]);
        if (y.Rank == x.Rank && x.Rank != 2) return i % image;
        int channel = x.Rank == 4 ? i / x.Positions % x.Channels : i % x.Channels;
        return y[0] == 1 ? channel : i / image * x.Channels + channel;
    }
}

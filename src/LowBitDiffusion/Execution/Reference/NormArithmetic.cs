using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>Normalisations, in double precision throughout.</summary>
internal static class NormArithmetic
{
    public static float[] GroupNorm(GroupNormOp op, float[] x, TensorShape shape, float[] weight, float[] bias)
    {
        int positions = x.Length / shape[0] / op.Channels, channels = op.Channels / op.Groups, block = channels * positions;
        if (shape.Rank != 4 && positions > 1) throw new NotSupportedException($"{op}: the reference executor normalises groups of images and vectors only");
        float[] y = new float[x.Length];
        for (int start = 0; start < x.Length; start += block)
        {
            (double mean, double scale) = Moments(x.AsSpan(start, block), op.Epsilon);
            for (int i = start; i < start + block; i++)
            {
                int c = i / positions % op.Channels;
                y[i] = (float)((x[i] - mean) * scale * weight[c] + bias[c]);
            }
        }

        return y;
    }

    public static float[] LayerNorm(LayerNormOp op, float[] x, float[]? weight, float[]? bias)
    {
        float[] y = new float[x.Length];
        for (int start = 0; start < x.Length; start += op.Channels)
        {
            (double mean, double scale) = Moments(x.AsSpan(start, op.Channels), op.Epsilon);
            for (int c = 0; c < op.Channels; c++)
            {
                double normalised = (x[start + c] - mean) * scale;
                y[start + c] = (float)(weight is null ? normalised : normalised * weight[c] + bias![c]);
            }
        }

        return y;
    }

    private static (double Mean, double Scale) Moments(ReadOnlySpan<float> x, double epsilon)
    {
        double mean = 0, variance = 0;
        foreach (float value in x) mean += value;
        mean /= x.Length;
        foreach (float value in x) variance += (value - mean) * (value - mean);
        return (mean, 1 / Math.Sqrt(variance / x.Length + epsilon));
    }
}

using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>Convolution, linear layer and attention in float: products summed in double precision, the sum rounded, then the bias added.</summary>
internal static class MatrixArithmetic
{
    public static float[] Conv2d(Conv2dOp op, float[] x, TensorShape from, TensorShape to, float[] weight, float[]? bias)
    {
        int plane = from[2] * from[3], taps = op.Kernel * op.Kernel;
        double[] image = Array.ConvertAll(x, value => (double)value), kernel = Array.ConvertAll(weight, value => (double)value);
        float[] y = new float[to.Elements];
        double[] sums = new double[to[2] * to[3]];
        for (int n = 0; n < to[0]; n++)
        {
            for (int o = 0; o < op.OutChannels; o++)
            {
                Array.Clear(sums);
                for (int c = 0; c < op.InChannels; c++)
                    Correlation.Add(op, image.AsSpan((n * op.InChannels + c) * plane, plane), from, kernel.AsSpan((o * op.InChannels + c) * taps, taps), sums, to);
                Span<float> result = y.AsSpan((n * op.OutChannels + o) * sums.Length, sums.Length);
                for (int i = 0; i < sums.Length; i++) result[i] = (float)sums[i] + (bias is null ? 0 : bias[o]);
            }
        }

        return y;
    }

    public static float[] Linear(LinearOp op, float[] x, float[] weight, float[]? bias)
    {
        int rows = x.Length / op.InFeatures;
        float[] y = new float[rows * op.OutFeatures];
        for (int m = 0; m < rows; m++)
            for (int o = 0; o < op.OutFeatures; o++)
            {
                double sum = 0;
                for (int k = 0; k < op.InFeatures; k++) sum += (double)x[m * op.InFeatures + k] * weight[o * op.InFeatures + k];
                y[m * op.OutFeatures + o] = (float)sum + (bias is null ? 0 : bias[o]);
            }

        return y;
    }

    public static float[] Attention(AttentionOp op, float[] q, float[] k, float[] v, float[]? mask, TensorShape queries, TensorShape valuesShape)
    {
        int batch = queries[0], length = queries[1], keys = valuesShape[1];
        int width = queries[2] / op.Heads, valueWidth = valuesShape[2] / op.Heads;
        double scale = 1 / Math.Sqrt(width);
        float[] y = new float[batch * length * valuesShape[2]];
        double[] p = new double[keys];
        for (int n = 0; n < batch; n++)
            for (int h = 0; h < op.Heads; h++)
                for (int i = 0; i < length; i++)
                {
                    int visible = op.Causal ? Math.Min(i + 1, keys) : keys;
                    double max = double.NegativeInfinity;
                    for (int j = 0; j < visible; j++)
                    {
                        double dot = 0;
                        for (int c = 0; c < width; c++) dot += (double)q[(n * length + i) * queries[2] + h * width + c] * k[(n * keys + j) * queries[2] + h * width + c];
                        p[j] = dot * scale + (mask is null ? 0 : mask[n * keys + j]);
                        max = Math.Max(max, p[j]);
                    }

                    double sum = 0;
                    for (int j = 0; j < visible; j++) sum += p[j] = Math.Exp(p[j] - max);
                    for (int c = 0; c < valueWidth; c++)
                    {
                        double mix = 0;
                        for (int j = 0; j < visible; j++) mix += p[j] * v[(n * keys + j) * valuesShape[2] + h * valueWidth + c];
                        y[(n * length + i) * valuesShape[2] + h * valueWidth + c] = (float)(mix / sum);
                    }
                }

        return y;
    }
}

using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>
/// The integer contract, which every kernel meets exactly. All float lines round to single precision once per operation:
/// <code>
///   inv[c] = 1 / (d·s[c])                                     d, z of c's segment at the timestep; s = divisor of the input channel, 1 without
///   q[c]   = clamp(round_half_even(x[c]·inv[c]) + z, 0, 2^bits − 1)        padding is z
///   S      = Σ q·w,  W[o] = Σ w[o]                             int32, over one segment's channels and all taps
///   v[o]   = Σ over segments, in order, of  float(S − z·W[o])·(d·dw[o])
///   y[o]   = v[o] + bias[o]
/// </code>
/// </summary>
internal static class QuantizedArithmetic
{
    public static float[] Run(MatrixOp op, QuantizedModule module, float[] x, TensorShape from, TensorShape to, float timestep)
    {
        if (op is Conv2dOp conv) return Convolve(conv, module, x, from, to, timestep);

        // A linear layer over M rows of K channels is a 1×1 convolution over M images of one pixel.
        LinearOp linear = (LinearOp)op;
        int rows = x.Length / linear.InFeatures;
        Conv2dOp pointwise = new(linear.Module, linear.InFeatures, linear.OutFeatures, 1, 1, default, linear.HasBias);
        return Convolve(pointwise, module, x, new(rows, linear.InFeatures, 1, 1), new(rows, linear.OutFeatures, 1, 1), timestep);
    }

    /// <summary>Codes of an input <c>[N, C, P]</c>.</summary>
    public static int[] Quantize(QuantizedModule module, ReadOnlySpan<float> x, int batch, float timestep)
    {
        int positions = x.Length / batch / module.InChannels, top = (1 << module.Input.Bits) - 1;
        int[] codes = new int[x.Length];
        foreach (ChannelSegment segment in module.Segments)
        {
            (float d, int z) = module.Input.At(timestep, segment.InputSegment);
            for (int n = 0; n < batch; n++)
                for (int c = segment.Start; c < segment.Start + segment.Count; c++)
                {
                    float inverse = 1 / (module.InputChannelScales is { } s ? d * s[c] : d);
                    for (int i = (n * module.InChannels + c) * positions; i < (n * module.InChannels + c + 1) * positions; i++)
                        codes[i] = (int)Math.Clamp(MathF.Round(x[i] * inverse, MidpointRounding.ToEven) + z, 0, top);
                }
        }

        return codes;
    }

    private static float[] Convolve(Conv2dOp op, QuantizedModule module, float[] x, TensorShape from, TensorShape to, float timestep)
    {
        int height = from[2], width = from[3], outHeight = to[2], outWidth = to[3], groups = module.WeightScales.Length / op.OutChannels;
        int[] codes = Quantize(module, x, from[0], timestep);
        float[] y = new float[to.Elements];
        int[] sums = new int[outHeight * outWidth];
        for (int n = 0; n < to[0]; n++)
            for (int o = 0; o < op.OutChannels; o++)
            {
                Span<float> result = y.AsSpan((n * op.OutChannels + o) * sums.Length, sums.Length);
                foreach (ChannelSegment segment in module.Segments)
                {
                    (float d, int z) = module.Input.At(timestep, segment.InputSegment);
                    int weightSum = 0;
                    Array.Clear(sums);
                    for (int c = segment.Start; c < segment.Start + segment.Count; c++)
                        for (int r = 0; r < op.Kernel; r++)
                            for (int s = 0; s < op.Kernel; s++)
                            {
                                int w = module.Codes[((o * op.InChannels + c) * op.Kernel + r) * op.Kernel + s];
                                weightSum += w;
                                ReadOnlySpan<int> image = codes.AsSpan((n * op.InChannels + c) * height * width, height * width);
                                for (int i = 0; i < outHeight; i++)
                                    for (int j = 0; j < outWidth; j++)
                                    {
                                        int row = i * op.Stride + r - op.Padding.Top, column = j * op.Stride + s - op.Padding.Left;
                                        bool inside = row >= 0 && row < height && column >= 0 && column < width;
                                        sums[i * outWidth + j] += w * (inside ? image[row * width + column] : z);
                                    }
                            }

                    float scale = d * module.WeightScales[o * groups + segment.Group];
                    for (int i = 0; i < sums.Length; i++) result[i] += (sums[i] - z * weightSum) * scale;
                }

                if (module.Bias is { } bias)
                {
                    for (int i = 0; i < sums.Length; i++) result[i] += bias[o];
                }
            }

        return y;
    }
}

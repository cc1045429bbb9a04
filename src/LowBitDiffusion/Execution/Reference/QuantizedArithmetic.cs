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
/// Here S − z·W is summed as Σ (q − z)·w, which is the same integer, and to which padding adds nothing.
/// </summary>
internal static class QuantizedArithmetic
{
    public static float[] Run(MatrixOp op, QuantizedModule module, float[] x, TensorShape from, TensorShape to, float timestep)
    {
        if (op is Conv2dOp conv) return Convolve(conv, module, x, from, to, timestep);

        // A linear layer over M rows of K channels is a 1×1 convolution over an image of 1×M pixels.
        LinearOp linear = (LinearOp)op;
        int rows = x.Length / linear.InFeatures;
        Conv2dOp pointwise = new(linear.Module, linear.InFeatures, linear.OutFeatures, 1, 1, default, linear.HasBias);
        float[] image = LayoutArithmetic.Transpose(x, 1, rows, linear.InFeatures);
        float[] y = Convolve(pointwise, module, image, new(1, linear.InFeatures, 1, rows), new(1, linear.OutFeatures, 1, rows), timestep);
        return LayoutArithmetic.Transpose(y, 1, linear.OutFeatures, rows);
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
        int plane = from[2] * from[3], taps = op.Kernel * op.Kernel, groups = module.WeightScales.Length / op.OutChannels;
        int[] centred = Quantize(module, x, from[0], timestep), kernel = Array.ConvertAll(module.Codes, code => (int)code);
        foreach (ChannelSegment segment in module.Segments)
        {
            int z = module.Input.At(timestep, segment.InputSegment).ZeroPoint;
            for (int n = 0; n < from[0]; n++)
            {
                foreach (ref int code in centred.AsSpan((n * op.InChannels + segment.Start) * plane, segment.Count * plane)) code -= z;
            }
        }

        float[] y = new float[to.Elements];
        int[] sums = new int[to[2] * to[3]];
        for (int n = 0; n < to[0]; n++)
        {
            for (int o = 0; o < op.OutChannels; o++)
            {
                Span<float> result = y.AsSpan((n * op.OutChannels + o) * sums.Length, sums.Length);
                foreach (ChannelSegment segment in module.Segments)
                {
                    Array.Clear(sums);
                    for (int c = segment.Start; c < segment.Start + segment.Count; c++)
                        Correlation.Add(op, centred.AsSpan((n * op.InChannels + c) * plane, plane), from, kernel.AsSpan((o * op.InChannels + c) * taps, taps), sums, to);
                    float scale = module.Input.At(timestep, segment.InputSegment).Scale * module.WeightScales[o * groups + segment.Group];
                    for (int i = 0; i < sums.Length; i++) result[i] += sums[i] * scale;
                }

                if (module.Bias is not { } bias) continue;
                foreach (ref float value in result) value += bias[o];
            }
        }

        return y;
    }
}

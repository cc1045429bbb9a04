namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>
/// Weight dilation (DilateQuant): input channels whose weights stay clear of every output channel's extremes are stretched until one touches, and
/// the activation is divided by the same factor. The ranges of the output channels, and so the weight's steps, do not change; the activation's range shrinks.
/// <code>
/// s[k] = min over o, tap of  wmax[o] / w  where w = w[o, k, tap] &gt; 0
///                            wmin[o] / w  where w &lt; 0
/// </code>
/// Zero weights constrain nothing; a channel that nothing constrains keeps s = 1. Every s is at least 1.
/// </summary>
public static class WeightDilation
{
    /// <summary>Stretch of each input channel.</summary>
    /// <param name="weight">Row-major <c>[N, channels, taps]</c>.</param>
    /// <param name="channels">Input channels.</param>
    /// <param name="taps">Rows × columns of the kernel; 1 for a linear layer.</param>
    /// <returns>One factor per input channel.</returns>
    /// <exception cref="ArgumentException">The weight does not divide into rows of channels × taps.</exception>
    public static float[] Scales(ReadOnlySpan<float> weight, int channels, int taps)
    {
        int depth = Depth(weight, channels, taps);
        double[] scales = new double[channels];
        Array.Fill(scales, double.PositiveInfinity);
        for (int row = 0; row < weight.Length; row += depth)
        {
            ValueRange range = ValueRange.Of(weight.Slice(row, depth));
            for (int i = 0; i < depth; i++)
            {
                double w = weight[row + i];
                if (w == 0) continue;
                double ratio = (w > 0 ? range.Max : range.Min) / w;
                if (ratio < scales[i / taps]) scales[i / taps] = ratio;
            }
        }

        return Array.ConvertAll(scales, s => float.IsFinite((float)s) ? (float)s : 1);
    }

    /// <summary>The weight with every input channel multiplied by its factor.</summary>
    /// <param name="weight">Row-major <c>[N, channels, taps]</c>.</param>
    /// <param name="scales">One factor per input channel.</param>
    /// <param name="taps">Rows × columns of the kernel; 1 for a linear layer.</param>
    /// <exception cref="ArgumentException">The weight does not divide into rows of channels × taps.</exception>
    public static float[] Dilate(ReadOnlySpan<float> weight, ReadOnlySpan<float> scales, int taps)
    {
        int depth = Depth(weight, scales.Length, taps);
        float[] dilated = new float[weight.Length];
        for (int i = 0; i < dilated.Length; i++) dilated[i] = weight[i] * scales[i % depth / taps];
        return dilated;
    }

    private static int Depth(ReadOnlySpan<float> weight, int channels, int taps)
    {
        int depth = checked(channels * taps);
        if (depth < 1 || weight.Length % depth != 0) throw new ArgumentException($"a weight of {weight.Length} elements does not divide into rows of {channels} channels and {taps} taps");
        return depth;
    }
}

using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Training;

/// <summary>Gradients of a learned quantizer.</summary>
/// <param name="Input">Of the values, in their layout.</param>
/// <param name="Scales">Of the steps, one per channel.</param>
/// <param name="ZeroPoints">Of the zero points, one per channel.</param>
public sealed record LearnedStepGradients(float[] Input, float[] Scales, float[] ZeroPoints);

/// <summary>
/// Fake quantization with learned steps and zero points (LSQ, LSQ+; TALSQ of EfficientDM and TPQ of DilateQuant learn a pair per timestep). Zero points are learned as real
/// numbers and rounded in every forward pass, so that what is trained is what runs. Rounding has a straight-through gradient.
/// <code>
/// u    = round(x / d) + round(z)
/// xhat = (clamp(u, 0, 2^b − 1) − round(z))·d
///
///            0 ≤ u ≤ 2^b − 1      outside
/// dxhat/dx        1                  0
/// dxhat/dd    q − z − x/d          q − z
/// dxhat/dz        0                  −d
/// </code>
/// Channels are equal consecutive parts of the values, each with a step and zero point: the rows of a weight; one for a whole activation.
/// </summary>
public static class LearnedStep
{
    /// <summary>Values as the quantizer returns them.</summary>
    /// <param name="x">Values, <c>[channels, …]</c>.</param>
    /// <param name="scales">Step of each channel, positive.</param>
    /// <param name="zeroPoints">Zero point of each channel, real.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">The values do not divide into channels, or the bits are out of range.</exception>
    public static float[] Forward(ReadOnlySpan<float> x, ReadOnlySpan<float> scales, ReadOnlySpan<float> zeroPoints, int bits)
    {
        int length = ChannelLength(x.Length, scales, zeroPoints, bits);
        float[] values = new float[x.Length];
        for (int i = 0; i < x.Length; i++)
        {
            (double step, double zero) = (scales[i / length], Math.Round(zeroPoints[i / length]));
            double code = Math.Clamp(Math.Round(x[i] / step) + zero, 0, (1 << bits) - 1);
            values[i] = (float)((code - zero) * step);
        }

        return values;
    }

    /// <summary>Gradients for the upstream gradient <paramref name="upstream"/> of the returned values.</summary>
    /// <inheritdoc cref="Forward"/>
    public static LearnedStepGradients Backward(ReadOnlySpan<float> x, ReadOnlySpan<float> scales, ReadOnlySpan<float> zeroPoints, int bits, ReadOnlySpan<float> upstream)
    {
        int length = ChannelLength(x.Length, scales, zeroPoints, bits);
        if (upstream.Length != x.Length) throw new ArgumentException($"{x.Length} values need as many upstream gradients, found {upstream.Length}");
        float[] input = new float[x.Length], scaleGradients = new float[scales.Length], zeroGradients = new float[scales.Length];
        for (int channel = 0; channel < scales.Length; channel++)
        {
            (double step, double zero, double last) = (scales[channel], Math.Round(zeroPoints[channel]), (1 << bits) - 1);
            double scaleSum = 0, zeroSum = 0;
            for (int i = channel * length; i < (channel + 1) * length; i++)
            {
                double ratio = x[i] / step, code = Math.Round(ratio) + zero;
                if (code >= 0 && code <= last)
                {
                    input[i] = upstream[i];
                    scaleSum += upstream[i] * (code - zero - ratio);
                }
                else
                {
                    scaleSum += upstream[i] * (Math.Clamp(code, 0, last) - zero);
                    zeroSum -= upstream[i] * step;
                }
            }

            scaleGradients[channel] = (float)scaleSum;
            zeroGradients[channel] = (float)zeroSum;
        }

        return new LearnedStepGradients(input, scaleGradients, zeroGradients);
    }

    private static int ChannelLength(int values, ReadOnlySpan<float> scales, ReadOnlySpan<float> zeroPoints, int bits)
    {
        Codes.RequireBits(bits);
        if (scales.IsEmpty || scales.Length != zeroPoints.Length || values % scales.Length != 0)
            throw new ArgumentException($"{values} values do not divide into {scales.Length} channels with {zeroPoints.Length} zero points");
        return Math.Max(1, values / scales.Length);
    }
}

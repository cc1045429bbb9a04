using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Training;

/// <summary>
/// Adaptive rounding (Nagel et al. 2020, as BRECQ and Q-Diffusion use it): whether each weight is rounded down or up is learned as a soft number h in [0, 1] that a regulariser drives to one end.
/// <code>
/// h(α)    = clamp((ζ − γ)·sigmoid(α) + γ, 0, 1)                ζ = 1.1, γ = −0.1
/// soft    = (clamp(floor(w/d) + h(α) + z, 0, 2^b − 1) − z)·d     while learning
/// hard    = clamp(floor(w/d) + [α ≥ 0] + z, 0, 2^b − 1)          the codes that are kept
/// α₀      = −ln((ζ − γ)/(rest − γ) − 1),  rest = w/d − floor(w/d)   so that h(α₀) = rest
/// R(α, β) = Σ 1 − |2h(α) − 1|^β
/// </code>
/// </summary>
public sealed class AdaRound
{
    private const double Zeta = 1.1, Gamma = -0.1;

    private readonly double[] _floors;
    private readonly float[] _rests;
    private readonly float[] _scales;
    private readonly int[] _zeroPoints;
    private readonly int _depth;
    private readonly int _last;

    /// <summary>Creates the rounding of one weight.</summary>
    /// <param name="weight">Float weight <c>[N, K]</c>.</param>
    /// <param name="scales">Step of each of the N output channels.</param>
    /// <param name="zeroPoints">Zero point of each output channel.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">The weight does not divide into output channels, or the bits are out of range.</exception>
    public AdaRound(ReadOnlySpan<float> weight, ReadOnlySpan<float> scales, ReadOnlySpan<int> zeroPoints, int bits)
    {
        Codes.RequireBits(bits);
        if (scales.IsEmpty || scales.Length != zeroPoints.Length || weight.IsEmpty || weight.Length % scales.Length != 0)
            throw new ArgumentException($"a weight of {weight.Length} elements does not divide into {scales.Length} output channels with {zeroPoints.Length} zero points");
        (_scales, _zeroPoints, _depth, _last) = (scales.ToArray(), zeroPoints.ToArray(), weight.Length / scales.Length, (1 << bits) - 1);
        _floors = new double[weight.Length];
        _rests = new float[weight.Length];
        for (int i = 0; i < weight.Length; i++)
        {
            double ratio = (double)weight[i] / _scales[i / _depth];
            _floors[i] = Math.Floor(ratio);
            _rests[i] = (float)(ratio - _floors[i]);
        }
    }

    /// <summary>The α for which the soft weight is the float weight (where it is not clipped).</summary>
    public float[] InitialAlpha() => Array.ConvertAll(_rests, rest => (float)-Math.Log((Zeta - Gamma) / (rest - Gamma) - 1));

    /// <summary>The soft rounding h of one α.</summary>
    public static double Soft(double alpha) => Math.Clamp((Zeta - Gamma) * Sigmoid(alpha) + Gamma, 0, 1);

    /// <summary>The weight while rounding is learned, <c>[N, K]</c>.</summary>
    public float[] SoftWeight(ReadOnlySpan<float> alpha)
    {
        RequireLength(alpha);
        float[] weight = new float[_floors.Length];
        for (int i = 0; i < weight.Length; i++)
        {
            int zero = _zeroPoints[i / _depth];
            weight[i] = (float)((Math.Clamp(_floors[i] + Soft(alpha[i]) + zero, 0, _last) - zero) * _scales[i / _depth]);
        }

        return weight;
    }

    /// <summary>The unsigned codes that the learned rounding decides on, <c>[N, K]</c>.</summary>
    public int[] HardCodes(ReadOnlySpan<float> alpha)
    {
        RequireLength(alpha);
        int[] codes = new int[_floors.Length];
        for (int i = 0; i < codes.Length; i++) codes[i] = (int)Math.Clamp(_floors[i] + (alpha[i] >= 0 ? 1 : 0) + _zeroPoints[i / _depth], 0, _last);
        return codes;
    }

    /// <summary>The weight that the hard codes stand for, <c>[N, K]</c>.</summary>
    public float[] HardWeight(ReadOnlySpan<float> alpha)
    {
        int[] codes = HardCodes(alpha);
        float[] weight = new float[codes.Length];
        for (int i = 0; i < weight.Length; i++) weight[i] = (codes[i] - _zeroPoints[i / _depth]) * _scales[i / _depth];
        return weight;
    }

    /// <summary>Gradient of α for the gradient <paramref name="upstream"/> of <see cref="SoftWeight"/>.</summary>
    public float[] Backward(ReadOnlySpan<float> alpha, ReadOnlySpan<float> upstream)
    {
        RequireLength(alpha);
        RequireLength(upstream);
        float[] gradient = new float[alpha.Length];
        for (int i = 0; i < gradient.Length; i++)
        {
            double code = _floors[i] + Soft(alpha[i]) + _zeroPoints[i / _depth];
            if (code >= 0 && code <= _last) gradient[i] = (float)(upstream[i] * (double)_scales[i / _depth] * SoftDerivative(alpha[i]));
        }

        return gradient;
    }

    /// <summary>The regulariser <c>R(α, β)</c>.</summary>
    public static double Regulariser(ReadOnlySpan<float> alpha, double beta)
    {
        double sum = 0;
        foreach (float a in alpha) sum += 1 - Math.Pow(Math.Abs(2 * Soft(a) - 1), beta);
        return sum;
    }

    /// <summary>Adds <c>λ·dR/dα</c> to a gradient.</summary>
    public static void AddRegulariserGradient(ReadOnlySpan<float> alpha, double beta, double lambda, Span<float> gradient)
    {
        for (int i = 0; i < alpha.Length; i++)
        {
            double centred = 2 * Soft(alpha[i]) - 1;
            gradient[i] -= (float)(lambda * beta * Math.Pow(Math.Abs(centred), beta - 1) * Math.Sign(centred) * 2 * SoftDerivative(alpha[i]));
        }
    }

    /// <summary>
    /// The papers' reconstruction loss and its gradient: the squared error summed over channels and averaged over images and pixels
    /// (not a plain mean: it grows with the number of channels).
    /// </summary>
    /// <param name="output">Output of the quantized layer or block.</param>
    /// <param name="target">Output of the float one.</param>
    /// <param name="channels">Output channels.</param>
    /// <returns>The loss and its gradient with respect to <paramref name="output"/>.</returns>
    public static (double Loss, float[] Gradient) Reconstruction(ReadOnlySpan<float> output, ReadOnlySpan<float> target, int channels)
    {
        if (output.Length != target.Length || channels < 1 || output.Length % channels != 0) throw new ArgumentException($"outputs of {output.Length} and {target.Length} elements do not fit {channels} channels");
        double positions = (double)output.Length / channels, sum = 0;
        float[] gradient = new float[output.Length];
        for (int i = 0; i < gradient.Length; i++)
        {
            double error = (double)output[i] - target[i];
            sum += error * error;
            gradient[i] = (float)(2 * error / positions);
        }

        return (sum / positions, gradient);
    }

    private static double Sigmoid(double alpha) => 1 / (1 + Math.Exp(-alpha));

    private static double SoftDerivative(double alpha)
    {
        double sigmoid = Sigmoid(alpha), soft = (Zeta - Gamma) * sigmoid + Gamma;
        return soft is >= 0 and <= 1 ? (Zeta - Gamma) * sigmoid * (1 - sigmoid) : 0;
    }

    private void RequireLength(ReadOnlySpan<float> values)
    {
        if (values.Length != _floors.Length) throw new ArgumentException($"a weight of {_floors.Length} elements needs as many, found {values.Length}");
    }
}

using System.Runtime.Intrinsics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
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
/// Computed in double precision.
/// </summary>
public sealed class AdaRound
{
    private const double Zeta = 1.1, Gamma = -0.1;

    private readonly float[] _floors;
    private readonly float[] _rests;
    private readonly float[] _scales;
    private readonly int[] _zeroPoints;
    private readonly WeightRanges _ranges;
    private readonly int _last;

    /// <summary>Creates the rounding of one weight.</summary>
    /// <param name="weight">Float weight <c>[N, K]</c>.</param>
    /// <param name="scales">Step of each of the N output channels.</param>
    /// <param name="zeroPoints">Zero point of each output channel.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">The weight does not divide into output channels, or the bits are out of range.</exception>
    public AdaRound(ReadOnlySpan<float> weight, ReadOnlySpan<float> scales, ReadOnlySpan<int> zeroPoints, int bits)
        : this(weight, scales, zeroPoints, Rows(weight.Length, scales.Length, bits), (1 << bits) - 1)
    {
    }

    internal AdaRound(ReadOnlySpan<float> weight, ReadOnlySpan<float> scales, ReadOnlySpan<int> zeroPoints, WeightRanges ranges, int last)
    {
        if (scales.Length != ranges.Count || scales.Length != zeroPoints.Length)
            throw new ArgumentException($"a weight of {ranges.Count} ranges has {scales.Length} steps and {zeroPoints.Length} zero points");
        (_scales, _zeroPoints, _ranges, _last) = (scales.ToArray(), zeroPoints.ToArray(), ranges, last);
        _floors = new float[weight.Length];
        _rests = new float[weight.Length];
        for (int entry = 0; entry < ranges.Count; entry++)
        {
            (int offset, int count) = ranges[entry];
            for (int i = offset; i < offset + count; i++)
            {
                double ratio = (double)weight[i] / _scales[entry], floor = Math.Floor(ratio);
                _floors[i] = (float)floor;
                _rests[i] = (float)(ratio - floor);
            }
        }
    }

    /// <summary>The α for which the soft weight is the float weight (where it is not clipped).</summary>
    public float[] InitialAlpha() => Array.ConvertAll(_rests, rest => (float)-Math.Log((Zeta - Gamma) / (rest - Gamma) - 1));

    /// <summary>The soft rounding h of one α.</summary>
    public static double Soft(double alpha) => SoftRounding(Vector256.Create(alpha))[0];

    /// <summary>The weight while rounding is learned, <c>[N, K]</c>.</summary>
    /// <param name="alpha">α of every element.</param>
    /// <param name="pool">Threads; null for the caller's alone.</param>
    public float[] SoftWeight(ReadOnlyMemory<float> alpha, WorkerPool? pool = null)
    {
        RequireLength(alpha.Length);
        float[] weight = Vectors.Allocate(_floors.Length);
        ForRanges(pool, (entry, offset, count) => WideVectors.Map(
            _floors.AsSpan(offset, count), alpha.Span.Slice(offset, count), default, weight.AsSpan(offset, count), new SoftWeightFunction(_scales[entry], _zeroPoints[entry], _last)));
        return weight;
    }

    /// <summary>The unsigned codes that the learned rounding decides on, <c>[N, K]</c>.</summary>
    public int[] HardCodes(ReadOnlySpan<float> alpha)
    {
        RequireLength(alpha.Length);
        int[] codes = new int[_floors.Length];
        for (int entry = 0; entry < _ranges.Count; entry++)
        {
            (int offset, int count) = _ranges[entry];
            for (int i = offset; i < offset + count; i++) codes[i] = (int)Math.Clamp((double)_floors[i] + (alpha[i] >= 0 ? 1 : 0) + _zeroPoints[entry], 0, _last);
        }

        return codes;
    }

    /// <summary>The weight that the hard codes stand for, <c>[N, K]</c>.</summary>
    public float[] HardWeight(ReadOnlySpan<float> alpha)
    {
        int[] codes = HardCodes(alpha);
        float[] weight = new float[codes.Length];
        for (int entry = 0; entry < _ranges.Count; entry++)
        {
            (int offset, int count) = _ranges[entry];
            for (int i = offset; i < offset + count; i++) weight[i] = (codes[i] - _zeroPoints[entry]) * _scales[entry];
        }

        return weight;
    }

    /// <summary>Gradient of α for the gradient <paramref name="upstream"/> of <see cref="SoftWeight"/>.</summary>
    /// <param name="alpha">α of every element.</param>
    /// <param name="upstream">Gradient of the soft weight.</param>
    /// <param name="pool">Threads; null for the caller's alone.</param>
    public float[] Backward(ReadOnlyMemory<float> alpha, ReadOnlyMemory<float> upstream, WorkerPool? pool = null)
    {
        RequireLength(alpha.Length);
        RequireLength(upstream.Length);
        float[] gradient = Vectors.Allocate(alpha.Length);
        ForRanges(pool, (entry, offset, count) => WideVectors.Map(
            _floors.AsSpan(offset, count), alpha.Span.Slice(offset, count), upstream.Span.Slice(offset, count), gradient.AsSpan(offset, count),
            new SoftWeightGradient(_scales[entry], _zeroPoints[entry], _last)));
        return gradient;
    }

    /// <summary>The regulariser <c>R(α, β)</c>.</summary>
    public static double Regulariser(ReadOnlySpan<float> alpha, double beta)
    {
        double sum = 0;
        float[] terms = new float[Math.Min(alpha.Length, 4096)];
        for (int start = 0; start < alpha.Length; start += terms.Length)
        {
            Span<float> part = terms.AsSpan(0, Math.Min(terms.Length, alpha.Length - start));
            WideVectors.Map(alpha.Slice(start, part.Length), default, default, part, new RegulariserTerm(beta));
            foreach (float term in part) sum += term;
        }

        return sum;
    }

    /// <summary>Adds <c>λ·dR/dα</c> to a gradient.</summary>
    public static void AddRegulariserGradient(ReadOnlyMemory<float> alpha, double beta, double lambda, Memory<float> gradient, WorkerPool? pool = null)
    {
        RegulariserGradient function = new(beta, lambda);
        if (pool is null) Add(0, alpha.Length);
        else pool.Chunks(alpha.Length, Vectors.Grain, Add);

        void Add(int start, int end) => WideVectors.Map(alpha.Span[start..end], gradient.Span[start..end], default, gradient.Span[start..end], function);
    }

    /// <summary>
    /// The papers' reconstruction loss and its gradient: the squared error summed over channels and averaged over images and pixels
    /// (not a plain mean: it grows with the number of channels).
    /// </summary>
    /// <param name="output">Output of the quantized layer or block.</param>
    /// <param name="target">Output of the float one.</param>
    /// <param name="channels">Output channels.</param>
    /// <param name="pool">Threads; null for the caller's alone.</param>
    /// <returns>The loss and its gradient with respect to <paramref name="output"/>.</returns>
    public static (double Loss, float[] Gradient) Reconstruction(ReadOnlyMemory<float> output, ReadOnlyMemory<float> target, int channels, WorkerPool? pool = null)
    {
        if (output.Length != target.Length || channels < 1 || output.Length % channels != 0) throw new ArgumentException($"outputs of {output.Length} and {target.Length} elements do not fit {channels} channels");
        double positions = (double)output.Length / channels;
        float[] gradient = Vectors.Allocate(output.Length);
        double[] sums = new double[(output.Length + Vectors.Grain - 1) / Vectors.Grain];
        if (pool is not null) pool.Chunks(output.Length, Vectors.Grain, Part);
        else for (int start = 0; start < output.Length; start += Vectors.Grain) Part(start, Math.Min(start + Vectors.Grain, output.Length));
        return (sums.Sum() / positions, gradient);

        void Part(int start, int end)
        {
            ReadOnlySpan<float> y = output.Span[start..end], wanted = target.Span[start..end];
            Span<float> result = gradient.AsSpan(start..end);
            int lanes = Vector256<float>.Count, i = 0;
            Vector256<double> low = default, high = default, count = Vector256.Create(positions);
            for (; i <= result.Length - lanes; i += lanes)
            {
                (Vector256<double> y0, Vector256<double> y1) = Vector256.Widen(Vector256.Create(y.Slice(i, lanes)));
                (Vector256<double> t0, Vector256<double> t1) = Vector256.Widen(Vector256.Create(wanted.Slice(i, lanes)));
                (Vector256<double> e0, Vector256<double> e1) = (y0 - t0, y1 - t1);
                (low, high) = (low + e0 * e0, high + e1 * e1);
                Vector256.Narrow(e0 * 2 / count, e1 * 2 / count).CopyTo(result[i..]);
            }

            double sum = Vector256.Sum(low + high);
            for (; i < result.Length; i++)
            {
                double error = (double)y[i] - wanted[i];
                sum += error * error;
                result[i] = (float)(2 * error / positions);
            }

            sums[start / Vectors.Grain] = sum;
        }
    }

    private static WeightRanges Rows(int weight, int rows, int bits)
    {
        Codes.RequireBits(bits);
        if (rows == 0 || weight == 0 || weight % rows != 0) throw new ArgumentException($"a weight of {weight} elements does not divide into {rows} output channels");
        return WeightRanges.Of(new TensorShape(rows, weight / rows), new WeightQuantizerOptions(bits, Symmetric: true));
    }

    private void ForRanges(WorkerPool? pool, Action<int, int, int> body)
    {
        if (pool is not null)
        {
            _ranges.For(pool, body);
            return;
        }

        for (int entry = 0; entry < _ranges.Count; entry++) body(entry, _ranges[entry].Offset, _ranges[entry].Count);
    }

    private void RequireLength(int length)
    {
        if (length != _floors.Length) throw new ArgumentException($"a weight of {_floors.Length} elements needs as many, found {length}");
    }

    private static Vector256<double> Sigmoid(Vector256<double> alpha) => Vector256<double>.One / (Vector256<double>.One + Vector256.Exp(-alpha));

    private static Vector256<double> SoftRounding(Vector256<double> alpha) => Clamp(Stretched(Sigmoid(alpha)));

    /// <summary>h and its derivative, which share the exponential.</summary>
    private static (Vector256<double> Soft, Vector256<double> Derivative) SoftWithDerivative(Vector256<double> alpha)
    {
        Vector256<double> sigmoid = Sigmoid(alpha), soft = Stretched(sigmoid);
        Vector256<double> inside = Vector256.GreaterThanOrEqual(soft, Vector256<double>.Zero) & Vector256.LessThanOrEqual(soft, Vector256<double>.One);
        return (Clamp(soft), sigmoid * (Vector256<double>.One - sigmoid) * (Zeta - Gamma) & inside);
    }

    private static Vector256<double> Stretched(Vector256<double> sigmoid) => sigmoid * (Zeta - Gamma) + Vector256.Create(Gamma);

    private static Vector256<double> Clamp(Vector256<double> soft) => Vector256.Min(Vector256.Max(soft, Vector256<double>.Zero), Vector256<double>.One);

    // The logarithm of zero is −∞, whose exponential is zero again.
    private static Vector256<double> Power(Vector256<double> magnitude, double exponent) => Vector256.Exp(Vector256.Log(magnitude) * exponent);

    /// <summary>a = floor(w/d), b = α.</summary>
    private readonly struct SoftWeightFunction(double scale, double zero, double last) : IWideFunction
    {
        public Vector256<double> Invoke(Vector256<double> a, Vector256<double> b, Vector256<double> c)
        {
            Vector256<double> code = a + SoftRounding(b) + Vector256.Create(zero);
            return (Vector256.Min(Vector256.Max(code, Vector256<double>.Zero), Vector256.Create(last)) - Vector256.Create(zero)) * scale;
        }
    }

    /// <summary>a = floor(w/d), b = α, c = upstream.</summary>
    private readonly struct SoftWeightGradient(double scale, double zero, double last) : IWideFunction
    {
        public Vector256<double> Invoke(Vector256<double> a, Vector256<double> b, Vector256<double> c)
        {
            (Vector256<double> soft, Vector256<double> derivative) = SoftWithDerivative(b);
            Vector256<double> code = a + soft + Vector256.Create(zero);
            Vector256<double> inside = Vector256.GreaterThanOrEqual(code, Vector256<double>.Zero) & Vector256.LessThanOrEqual(code, Vector256.Create(last));
            return c * scale * derivative & inside;
        }
    }

    /// <summary>a = α.</summary>
    private readonly struct RegulariserTerm(double beta) : IWideFunction
    {
        public Vector256<double> Invoke(Vector256<double> a, Vector256<double> b, Vector256<double> c) =>
            Vector256<double>.One - Power(Vector256.Abs(SoftRounding(a) * 2 - Vector256<double>.One), beta);
    }

    /// <summary>a = α, b = gradient so far.</summary>
    private readonly struct RegulariserGradient(double beta, double lambda) : IWideFunction
    {
        public Vector256<double> Invoke(Vector256<double> a, Vector256<double> b, Vector256<double> c)
        {
            (Vector256<double> soft, Vector256<double> derivative) = SoftWithDerivative(a);
            Vector256<double> centred = soft * 2 - Vector256<double>.One;
            return b - Vector256.CopySign(Power(Vector256.Abs(centred), beta - 1), centred) * derivative * (2 * lambda * beta);
        }
    }
}

using System.Runtime.Intrinsics;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Autograd;

namespace LowBitDiffusion.Quantizer.Training;

/// <summary>Settings of <see cref="Adam"/>; the defaults are torch's.</summary>
/// <param name="Beta1">Decay of the gradient's mean.</param>
/// <param name="Beta2">Decay of the squared gradient's mean.</param>
/// <param name="Epsilon">Added to the root of the second moment.</param>
/// <param name="WeightDecay">Weight decay.</param>
/// <param name="Decoupled">AdamW: the decay shrinks the parameter directly. Else Adam: it is added to the gradient (L2).</param>
public sealed record AdamOptions(double Beta1 = 0.9, double Beta2 = 0.999, double Epsilon = 1e-8, double WeightDecay = 0, bool Decoupled = false);

/// <summary>
/// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) for one parameter tensor, with torch's order of operations:
/// <code>
/// AdamW: p ← p − lr·wd·p        Adam: g ← g + wd·p
/// m ← β₁m + (1 − β₁)g            v ← β₂v + (1 − β₂)g²
/// p ← p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)
/// </code>
/// </summary>
/// <param name="length">Elements of the parameter.</param>
/// <param name="options">Settings; null for torch's defaults.</param>
public sealed class Adam(int length, AdamOptions? options = null)
{
    private readonly AdamOptions _options = options ?? new AdamOptions();

    /// <summary>Mean of the gradients: together with <see cref="SecondMoment"/> and <see cref="Steps"/> all that must be saved to resume.</summary>
    public float[] FirstMoment { get; } = new float[length];

    /// <summary>Mean of the squared gradients.</summary>
    public float[] SecondMoment { get; } = new float[length];

    /// <summary>Updates made.</summary>
    public int Steps { get; set; }

    /// <summary>Updates the parameter.</summary>
    /// <param name="parameter">Changed in place.</param>
    /// <param name="gradient">Its gradient.</param>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="pool">Threads; null for the caller's alone.</param>
    /// <exception cref="ArgumentException">A length differs.</exception>
    public void Step(Memory<float> parameter, ReadOnlyMemory<float> gradient, double learningRate, WorkerPool? pool = null)
    {
        if (parameter.Length != FirstMoment.Length || gradient.Length != FirstMoment.Length)
            throw new ArgumentException($"expected {FirstMoment.Length} elements, found {parameter.Length} and a gradient of {gradient.Length}");
        Steps++;
        (double beta1, double beta2, double epsilon, double decay, bool decoupled) = _options;
        double stepSize = learningRate / (1 - Math.Pow(beta1, Steps)), root = Math.Sqrt(1 - Math.Pow(beta2, Steps)), shrink = learningRate * decay;
        Update update = new(beta1, beta2, epsilon, decoupled ? 0 : decay, decoupled ? shrink : 0, stepSize, root);
        if (pool is null) update.Run(parameter.Span, gradient.Span, FirstMoment, SecondMoment);
        else pool.Chunks(parameter.Length, Vectors.Grain, (start, end) => update.Run(parameter.Span[start..end], gradient.Span[start..end], FirstMoment.AsSpan(start..end), SecondMoment.AsSpan(start..end)));
    }

    /// <summary>One step for a range of elements, in double precision, four at a time.</summary>
    private sealed record Update(double Beta1, double Beta2, double Epsilon, double Decay, double Shrink, double StepSize, double Root)
    {
        public void Run(Span<float> parameter, ReadOnlySpan<float> gradient, Span<float> first, Span<float> second)
        {
            int i = 0;
            for (; i <= parameter.Length - Vector128<float>.Count; i += Vector128<float>.Count)
            {
                Vector256<double> p = Load(parameter[i..]), g = Load(gradient[i..]), m = Load(first[i..]), v = Load(second[i..]);
                p -= p * Shrink;
                g += p * Decay;
                m = m * Beta1 + g * (1 - Beta1);
                v = v * Beta2 + g * (1 - Beta2) * g;
                Store(m, first[i..]);
                Store(v, second[i..]);
                Store(p - m * StepSize / (Vector256.Sqrt(v) / Root + Vector256.Create(Epsilon)), parameter[i..]);
            }

            for (; i < parameter.Length; i++)
            {
                double p = parameter[i], g = gradient[i];
                p -= p * Shrink;
                g += p * Decay;
                double m = first[i] * Beta1 + g * (1 - Beta1), v = second[i] * Beta2 + g * (1 - Beta2) * g;
                (first[i], second[i]) = ((float)m, (float)v);
                parameter[i] = (float)(p - m * StepSize / (Math.Sqrt(v) / Root + Epsilon));
            }
        }

        private static Vector256<double> Load(ReadOnlySpan<float> values)
        {
            (Vector128<double> low, Vector128<double> high) = Vector128.Widen(Vector128.Create(values));
            return Vector256.Create(low, high);
        }

        private static void Store(Vector256<double> values, Span<float> target) => Vector128.Narrow(values.GetLower(), values.GetUpper()).CopyTo(target);
    }
}

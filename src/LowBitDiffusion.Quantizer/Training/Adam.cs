using System.Runtime.Intrinsics;

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
    /// <exception cref="ArgumentException">A length differs.</exception>
    public void Step(Span<float> parameter, ReadOnlySpan<float> gradient, double learningRate)
    {
        if (parameter.Length != FirstMoment.Length || gradient.Length != FirstMoment.Length)
            throw new ArgumentException($"expected {FirstMoment.Length} elements, found {parameter.Length} and a gradient of {gradient.Length}");
        Steps++;
        (double beta1, double beta2, double epsilon, double decay, bool decoupled) = _options;
        double stepSize = learningRate / (1 - Math.Pow(beta1, Steps)), root = Math.Sqrt(1 - Math.Pow(beta2, Steps));
        Update(parameter, gradient, new Settings(learningRate, stepSize, root, beta1, beta2, epsilon, decay, decoupled));
    }

    private void Update(Span<float> parameter, ReadOnlySpan<float> gradient, Settings settings)
    {
        int lanes = Vector512<double>.Count, i = 0;
        for (; i <= parameter.Length - lanes; i += lanes)
        {
            Vector512<double> p = Wide(parameter[i..]), g = Wide(gradient[i..]), m = Wide(FirstMoment.AsSpan(i)), v = Wide(SecondMoment.AsSpan(i));
            if (settings.Decoupled) p -= settings.Rate * settings.Decay * p;
            else g += settings.Decay * p;
            m = settings.Beta1 * m + (1 - settings.Beta1) * g;
            v = settings.Beta2 * v + (1 - settings.Beta2) * g * g;
            Narrow(m, FirstMoment.AsSpan(i));
            Narrow(v, SecondMoment.AsSpan(i));
            Narrow(p - settings.StepSize * m / (Vector512.Sqrt(v) / Vector512.Create(settings.Root) + Vector512.Create(settings.Epsilon)), parameter[i..]);
        }

        for (; i < parameter.Length; i++)
        {
            double p = parameter[i], g = gradient[i];
            if (settings.Decoupled) p -= settings.Rate * settings.Decay * p;
            else g += settings.Decay * p;
            double m = settings.Beta1 * FirstMoment[i] + (1 - settings.Beta1) * g, v = settings.Beta2 * SecondMoment[i] + (1 - settings.Beta2) * g * g;
            FirstMoment[i] = (float)m;
            SecondMoment[i] = (float)v;
            parameter[i] = (float)(p - settings.StepSize * m / (Math.Sqrt(v) / settings.Root + settings.Epsilon));
        }
    }

    private static Vector512<double> Wide(ReadOnlySpan<float> values)
    {
        (Vector256<double> low, Vector256<double> high) = Vector256.Widen(Vector256.Create(values[..Vector256<float>.Count]));
        return Vector512.Create(low, high);
    }

    private static void Narrow(Vector512<double> values, Span<float> target) => Vector256.Narrow(values.GetLower(), values.GetUpper()).CopyTo(target);

    private readonly record struct Settings(double Rate, double StepSize, double Root, double Beta1, double Beta2, double Epsilon, double Decay, bool Decoupled);
}

namespace LowBitDiffusion.Schedulers;

/// <summary>What a diffusion model was trained to predict.</summary>
public enum PredictionType
{
    /// <summary>The noise ε.</summary>
    Epsilon,

    /// <summary>The clean sample x₀.</summary>
    Sample,

    /// <summary>The velocity of Salimans and Ho, "Progressive Distillation" (2022).</summary>
    Velocity,

    /// <summary>The flow ε − x₀ of rectified flow matching.</summary>
    Flow,
}

/// <summary>
/// How much of a noisy sample is signal: <c>x = α x₀ + σ ε</c>. One pair covers the three conventions: variance preserving (α² + σ² = 1: DDPM, DDIM,
/// DPM-Solver), variance exploding
/// (α = 1: Karras' σ) and flow matching (α = 1 − σ). With <c>k² = α² + σ²</c> a velocity is <c>v = (α ε − σ x₀) / k</c>, so that
/// <code>
/// x₀ = (x − σ ε) / α  =  α/k² x − σ/k v  =  x − σ (ε − x₀)  [flow]
/// ε  = (x − α x₀) / σ =  σ/k² x + α/k v
/// </code>
/// </summary>
/// <param name="Alpha">Signal coefficient α.</param>
/// <param name="Sigma">Noise coefficient σ.</param>
internal readonly record struct NoiseLevel(double Alpha, double Sigma)
{
    /// <summary>Clean: x = x₀.</summary>
    public static NoiseLevel Clean => new(1, 0);

    /// <summary>Variance preserving, from the cumulative product of the alphas.</summary>
    public static NoiseLevel FromAlphaCumprod(double alphaCumprod) => new(Math.Sqrt(alphaCumprod), Math.Sqrt(1 - alphaCumprod));

    /// <summary>Variance exploding with Karras' σ.</summary>
    public static NoiseLevel FromSigma(double sigma) => new(1, sigma);

    /// <summary>k = √(α² + σ²).</summary>
    public double Norm => Math.Sqrt(Alpha * Alpha + Sigma * Sigma);

    /// <summary>λ = ln(α/σ), half the logarithm of the signal-to-noise ratio; +∞ when clean.</summary>
    public double Lambda => Math.Log(Alpha) - Math.Log(Sigma);

    /// <summary>The variance preserving level of the same signal-to-noise ratio.</summary>
    public NoiseLevel Normalized => new(Alpha / Norm, Sigma / Norm);

    /// <summary>Coefficients with <c>x₀ = OfSample · x + OfPrediction · prediction</c>.</summary>
    public (double OfSample, double OfPrediction) Original(PredictionType type) => type switch
    {
        PredictionType.Epsilon => (1 / Alpha, -Sigma / Alpha),
        PredictionType.Sample => (0, 1),
        PredictionType.Velocity => (Alpha / (Norm * Norm), -Sigma / Norm),
        PredictionType.Flow => (1, -Sigma),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a prediction type"),
    };

    /// <summary>Coefficients with <c>ε = OfSample · x + OfPrediction · prediction</c>.</summary>
    public (double OfSample, double OfPrediction) Noise(PredictionType type) => type switch
    {
        PredictionType.Epsilon => (0, 1),
        PredictionType.Sample => (1 / Sigma, -Alpha / Sigma),
        PredictionType.Velocity => (Sigma / (Norm * Norm), Alpha / Norm),
        PredictionType.Flow => (1, Alpha),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a prediction type"),
    };
}

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// The forward process: β and the cumulative product ᾱ of 1 − β for each training timestep, in float as diffusers keeps them, with
/// <code>
/// x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε
/// </code>
/// (Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models", 2020).
/// </summary>
public sealed class NoiseSchedule
{
    private const double MaximumBeta = 0.999;
    private readonly float[] _betas;
    private readonly float[] _alphasCumprod;

    private NoiseSchedule(float[] betas, float[] alphasCumprod) => (_betas, _alphasCumprod) = (betas, alphasCumprod);

    /// <summary>β per training timestep.</summary>
    public ReadOnlySpan<float> Betas => _betas;

    /// <summary>ᾱ per training timestep.</summary>
    public ReadOnlySpan<float> AlphasCumprod => _alphasCumprod;

    /// <summary>
    /// Builds the tables of a configuration: <c>beta_schedule</c>, <c>beta_start</c>, <c>beta_end</c>, <c>trained_betas</c>, <c>rescale_betas_zero_snr</c>.
    /// </summary>
    /// <param name="config">The configuration.</param>
    /// <exception cref="ModelFormatException">A value is unknown or out of range.</exception>
    public static NoiseSchedule FromConfig(SchedulerConfig config) => FromConfig(config, 0.0001, 0.02, "linear");

    /// <summary>As <see cref="FromConfig(SchedulerConfig)"/>, with a scheduler's own defaults.</summary>
    internal static NoiseSchedule FromConfig(SchedulerConfig config, double defaultStart, double defaultEnd, string defaultSchedule)
    {
        double start = config.Number("beta_start", defaultStart);
        double end = config.Number("beta_end", defaultEnd);
        int steps = config.TrainSteps;
        float[] betas = config.Numbers("trained_betas") is { } trained
            ? Array.ConvertAll(trained, b => (float)b)
            : config.Choice<Func<float[]>>(
                "beta_schedule",
                defaultSchedule,
                ("linear", () => Linspace(start, end, steps)),
                ("scaled_linear", () => Array.ConvertAll(Linspace(Math.Sqrt(start), Math.Sqrt(end), steps), root => root * root)),
                ("squaredcos_cap_v2", () => SquaredCosine(steps)),
                ("sigmoid", () => Array.ConvertAll(Linspace(-6, 6, steps), x => (float)(start + (end - start) / (1 + Math.Exp(-x))))))();
        if (betas.Length != steps) throw config.Error("trained_betas", $"expected num_train_timesteps = {steps} numbers, found {betas.Length}");
        int bad = Array.FindIndex(betas, b => !(b > 0 && b < 1));
        if (bad >= 0)
            throw config.Error(
                "beta_schedule",
                $"every beta (from beta_start, beta_end or trained_betas) must lie between 0 and 1, found {betas[bad]} at timestep {bad}");
        if (config.Flag("rescale_betas_zero_snr", false)) betas = RescaleToZeroTerminalSnr(betas);
        return new NoiseSchedule(betas, CumulativeAlphas(betas));
    }

    /// <summary>The level of a training timestep.</summary>
    internal NoiseLevel Level(int timestep) => NoiseLevel.FromAlphaCumprod(_alphasCumprod[timestep]);

    /// <summary>Forward noising: <c>√ᾱ x₀ + √(1 − ᾱ) ε</c>.</summary>
    /// <param name="timestep">Training timestep, 0 to N−1.</param>
    /// <param name="original">The clean sample x₀.</param>
    /// <param name="noise">Unit noise ε of the same length.</param>
    /// <param name="noisy">Receives the noised sample.</param>
    /// <exception cref="ArgumentOutOfRangeException">The timestep is outside the schedule.</exception>
    public void AddNoise(int timestep, ReadOnlySpan<float> original, ReadOnlySpan<float> noise, Span<float> noisy)
    {
        NoiseLevel level = CheckedLevel(timestep);
        SampleMath.Combine(noisy, level.Alpha, original, level.Sigma, noise);
    }

    /// <summary>The target of a model that predicts velocity: <c>√ᾱ ε − √(1 − ᾱ) x₀</c>.</summary>
    /// <param name="timestep">Training timestep, 0 to N−1.</param>
    /// <param name="original">The clean sample x₀.</param>
    /// <param name="noise">Unit noise ε of the same length.</param>
    /// <param name="velocity">Receives the velocity.</param>
    /// <exception cref="ArgumentOutOfRangeException">The timestep is outside the schedule.</exception>
    public void Velocity(int timestep, ReadOnlySpan<float> original, ReadOnlySpan<float> noise, Span<float> velocity)
    {
        NoiseLevel level = CheckedLevel(timestep);
        SampleMath.Combine(velocity, level.Alpha, noise, -level.Sigma, original);
    }

    private NoiseLevel CheckedLevel(int timestep) =>
        timestep >= 0 && timestep < _alphasCumprod.Length
            ? Level(timestep)
            : throw new ArgumentOutOfRangeException(nameof(timestep), timestep, $"the schedule has timesteps 0 to {_alphasCumprod.Length - 1}");

    // torch.linspace in float counts from whichever end is nearer and rounds once, after product and sum.
    private static float[] Linspace(double start, double end, int count)
    {
        (float first, float last) = ((float)start, (float)end);
        float step = count > 1 ? (last - first) / (count - 1) : 0;
        var values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = i < count / 2 || count == 1 ? MathF.FusedMultiplyAdd(step, i, first) : MathF.FusedMultiplyAdd(-step, count - 1 - i, last);
        return values;
    }

    // Nichol and Dhariwal, "Improved DDPM" (2021), equation 17: ᾱ(u) = cos²((u + 0.008) / 1.008 · π/2), β = 1 − ᾱ(next) / ᾱ(this).
    private static float[] SquaredCosine(int count)
    {
        static double AlphaBar(double u) => Math.Pow(Math.Cos((u + 0.008) / 1.008 * Math.PI / 2), 2);
        var betas = new float[count];
        for (int i = 0; i < count; i++) betas[i] = (float)Math.Min(1 - AlphaBar((i + 1.0) / count) / AlphaBar((double)i / count), MaximumBeta);
        return betas;
    }

    // torch.cumprod accumulates floats in double and rounds every product it stores.
    private static float[] CumulativeAlphas(float[] betas)
    {
        var products = new float[betas.Length];
        double product = 1;
        for (int i = 0; i < betas.Length; i++)
        {
            product *= 1f - betas[i];
            products[i] = (float)product;
        }

        return products;
    }

    // Lin, Liu, Li and Yang, "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2023), algorithm 1: shift √ᾱ so that the last is 0, scale so that
    // the first stays.
    private static float[] RescaleToZeroTerminalSnr(float[] betas)
    {
        float[] roots = Array.ConvertAll(CumulativeAlphas(betas), MathF.Sqrt);
        (float first, float last) = (roots[0], roots[^1]);
        for (int i = 0; i < roots.Length; i++) roots[i] = (roots[i] - last) * (first / (first - last));
        var rescaled = new float[betas.Length];
        for (int i = 0; i < rescaled.Length; i++)
        {
            float alphaCumprod = roots[i] * roots[i];
            rescaled[i] = 1f - (i == 0 ? alphaCumprod : alphaCumprod / (roots[i - 1] * roots[i - 1]));
        }

        return rescaled;
    }
}

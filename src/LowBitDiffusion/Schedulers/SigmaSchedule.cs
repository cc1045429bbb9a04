namespace LowBitDiffusion.Schedulers;

/// <summary>
/// The noise levels of training as Karras' <c>σ_t = √((1 − ᾱ_t) / ᾱ_t)</c>, and the ways samplers spread σ over a run (Karras, Aittala, Aila and Laine,
/// "Elucidating the Design Space of
/// Diffusion-Based Generative Models", 2022).
/// </summary>
internal sealed class SigmaSchedule
{
    private const double KarrasRho = 7;
    private const double SmallestAlphaCumprod = 1.0 / (1 << 24);
    private readonly double[] _sigmas;
    private readonly double[] _logSigmas;

    /// <summary>
    /// The σ of a forward process, ascending with the timestep. A zero terminal SNR, where σ would be infinite, counts as ᾱ = 2^-24: σ = 4096.
    /// </summary>
    public SigmaSchedule(NoiseSchedule schedule)
    {
        _sigmas = new double[schedule.AlphasCumprod.Length];
        for (int t = 0; t < _sigmas.Length; t++)
        {
            double alpha = schedule.AlphasCumprod[t] == 0 ? SmallestAlphaCumprod : schedule.AlphasCumprod[t];
            _sigmas[t] = Math.Sqrt((1 - alpha) / alpha);
        }

        _logSigmas = Array.ConvertAll(_sigmas, Math.Log);
    }

    /// <summary>σ of timestep 0.</summary>
    public double Smallest => _sigmas[0];

    /// <summary>σ of the last timestep.</summary>
    public double Largest => _sigmas[^1];

    /// <summary>σ at a timestep, linear between the integers and constant beyond the ends.</summary>
    public double At(double timestep)
    {
        if (timestep >= _sigmas.Length - 1) return Largest;
        int below = (int)timestep;
        return _sigmas[below] + (timestep - below) * (_sigmas[below + 1] - _sigmas[below]);
    }

    /// <summary>The timestep of a σ, linear in ln σ between the integers: the inverse Karras' spacings need.</summary>
    public double TimestepOf(double sigma)
    {
        double logSigma = Math.Log(Math.Max(sigma, 1e-10));
        if (_logSigmas.Length == 1) return 0;
        int above = Array.FindIndex(_logSigmas, value => value > logSigma);
        int low = above < 0 ? _logSigmas.Length - 2 : Math.Max(above - 1, 0);
        return low + Math.Clamp((logSigma - _logSigmas[low]) / (_logSigmas[low + 1] - _logSigmas[low]), 0, 1);
    }

    /// <summary>Karras' spacing, descending: <c>σ_i = (σ_max^{1/ρ} + i/(n−1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ</c> with ρ = 7.</summary>
    public static double[] Karras(double largest, double smallest, int count) =>
        Spread(Math.Pow(largest, 1 / KarrasRho), Math.Pow(smallest, 1 / KarrasRho), count, root => Math.Pow(root, KarrasRho));

    /// <summary>Spacing that is even in ln σ, descending.</summary>
    public static double[] LogLinear(double largest, double smallest, int count) => Spread(Math.Log(largest), Math.Log(smallest), count, Math.Exp);

    private static double[] Spread(double first, double last, int count, Func<double, double> toSigma)
    {
        double[] sigmas = new double[count];
        for (int i = 0; i < count; i++) sigmas[i] = toSigma(first + (count == 1 ? 0 : i / (count - 1.0)) * (last - first));
        return sigmas;
    }
}

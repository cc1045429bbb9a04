namespace LowBitDiffusion.Schedulers;

/// <summary>Which exponential integrator DPM-Solver is.</summary>
internal enum DpmAlgorithm
{
    /// <summary>DPM-Solver: integrates the predicted noise.</summary>
    Noise,

    /// <summary>DPM-Solver++: integrates the predicted clean sample.</summary>
    Data,

    /// <summary>SDE-DPM-Solver++: integrates the clean sample along the stochastic process.</summary>
    DataStochastic,
}

/// <summary>
/// The update of DPM-Solver (Lu, Zhou, Bao, Chen, Li and Zhu 2022) and DPM-Solver++ (Lu et al. 2022), from level s to level t over <c>h = λ_t − λ_s</c>, with
/// the model outputs as a Taylor
/// series D0, D1, D2 in λ/h:
/// <code>
///            of x               of D0           D1, midpoint      D1, heun and order 3     D2
/// ++         σ_t/σ_s            α_t p           α_t p / 2         α_t (1 − p/h)            α_t ((p − h)/h² + ½)        p = 1 − e^−h
/// plain      α_t/α_s           −σ_t p          −σ_t p / 2        −σ_t (p/h − 1)           −σ_t ((p − h)/h² − ½)       p = e^h − 1
/// SDE++      σ_t/σ_s e^−h       α_t q           α_t q / 2         α_t (1 − q/2h)           order 2 at most            q = 1 − e^−2h,  noise σ_t √q
/// </code>
/// </summary>
/// <param name="OfSample">Factor of the sample at s.</param>
/// <param name="D0">Factor of the constant term.</param>
/// <param name="D1Midpoint">Factor of the linear term, in the midpoint form of order 2.</param>
/// <param name="D1">Factor of the linear term, exact.</param>
/// <param name="D2">Factor of the quadratic term.</param>
/// <param name="Noise">Factor of the noise.</param>
internal readonly record struct DpmCoefficients(double OfSample, double D0, double D1Midpoint, double D1, double D2, double Noise)
{
    public static DpmCoefficients Between(NoiseLevel s, NoiseLevel t, DpmAlgorithm algorithm)
    {
        double h = t.Lambda - s.Lambda;
        switch (algorithm)
        {
            case DpmAlgorithm.Data:
                double fall = 1 - Math.Exp(-h);
                return new(t.Sigma / s.Sigma, t.Alpha * fall, t.Alpha * fall / 2, t.Alpha * (1 - fall / h), t.Alpha * ((fall - h) / (h * h) + 0.5), 0);
            case DpmAlgorithm.Noise:
                double rise = Math.Exp(h) - 1;
                return new(t.Alpha / s.Alpha, -t.Sigma * rise, -t.Sigma * rise / 2, -t.Sigma * (rise / h - 1), -t.Sigma * ((rise - h) / (h * h) - 0.5), 0);
            default:
                double q = 1 - Math.Exp(-2 * h);
                return new(t.Sigma / s.Sigma * Math.Exp(-h), t.Alpha * q, t.Alpha * q / 2, t.Alpha * (1 - q / (2 * h)), 0, t.Sigma * Math.Sqrt(q));
        }
    }
}

/// <summary>What the multistep and the singlestep form read from a configuration in the same way.</summary>
/// <param name="Order">Order of the solver, 1 to 3.</param>
/// <param name="Algorithm">The integrator.</param>
/// <param name="Midpoint">Whether order 2 takes the midpoint form.</param>
/// <param name="EndsClean">Whether the final σ is 0.</param>
internal sealed record DpmSettings(int Order, DpmAlgorithm Algorithm, bool Midpoint, bool EndsClean)
{
    public static DpmSettings Read(SchedulerConfig config)
    {
        config.RefuseFlags("use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas", "use_dynamic_shifting");
        var settings = new DpmSettings(
            config.Integer("solver_order", 2, 1, 3),
            config.Choice(
                "algorithm_type",
                "dpmsolver++",
                ("dpmsolver++", DpmAlgorithm.Data),
                ("dpmsolver", DpmAlgorithm.Noise),
                ("sde-dpmsolver++", DpmAlgorithm.DataStochastic)),
            config.Choice("solver_type", "midpoint", ("midpoint", true), ("heun", false)),
            config.Choice("final_sigmas_type", "zero", ("zero", true), ("sigma_min", false)));
        if (settings is { Algorithm: DpmAlgorithm.Noise, EndsClean: true })
            throw config.Error("final_sigmas_type", "algorithm_type dpmsolver divides by the final sigma, expected \"sigma_min\", found \"zero\"");
        return settings;
    }

    /// <summary>
    /// Steps of training left when the noisiest are clipped at <c>lambda_min_clipped</c>: those whose <c>λ_t = ln(α_t/σ_t)</c> is at least that.
    /// </summary>
    public static int LastTimestep(SchedulerConfig config, NoiseSchedule schedule)
    {
        double smallest = config.Number("lambda_min_clipped", double.NegativeInfinity, allowInfinite: true);
        int last = config.TrainSteps;
        while (last > 0 && schedule.Level(last - 1).Lambda < smallest) last--;
        return last > 0 ? last : throw config.Error("lambda_min_clipped", $"{smallest} leaves no timestep");
    }
}

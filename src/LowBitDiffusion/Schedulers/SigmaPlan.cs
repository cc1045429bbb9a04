namespace LowBitDiffusion.Schedulers;

/// <summary>The calls of the samplers that work on Karras' σ. There is one level more than calls: the one the last call leads to.</summary>
/// <param name="Prediction">What the model predicts.</param>
/// <param name="Timesteps">One per call, possibly fractional.</param>
/// <param name="Levels">One per call, and the final one.</param>
internal sealed record SigmaPlan(PredictionType Prediction, float[] Timesteps, NoiseLevel[] Levels) : CallPlan(Prediction, Timesteps, Levels)
{
    /// <summary>Variance exploding (Euler, Heun, LMS): <c>x = x₀ + σ ε</c>.</summary>
    public static SigmaPlan Exploding(PredictionType prediction, float[] timesteps, double[] sigmas, double final) =>
        new(prediction, timesteps, [.. sigmas.Append(final).Select(NoiseLevel.FromSigma)]);

    /// <summary>
    /// The plan of DPM-Solver and UniPC, variance preserving: the same signal-to-noise ratios, scaled to unit variance. Spread σ have their timesteps rounded.
    /// </summary>
    /// <param name="config">The configuration.</param>
    /// <param name="run">The request.</param>
    /// <param name="schedule">The σ of training.</param>
    /// <param name="grid">The timesteps, unless the configuration spreads σ instead.</param>
    /// <param name="endsClean">Whether the run ends at σ = 0, or else at the smallest σ of training.</param>
    /// <param name="knowsLuLambdas">Whether the solver knows <c>use_lu_lambdas</c>.</param>
    /// <param name="truncates">Whether timesteps of spread σ are cut off instead of rounded.</param>
    /// <exception cref="InvalidRequestException">Two calls have the same σ: the solvers divide by the distance between them.</exception>
    public static SigmaPlan Preserving(
        SchedulerConfig config, SamplingRun run, SigmaSchedule schedule, float[] grid, bool endsClean, bool knowsLuLambdas = false, bool truncates = false)
    {
        double[]? spread = config.Flag("use_karras_sigmas", false) ? SigmaSchedule.Karras(schedule.Largest, schedule.Smallest, run.Steps)
            : knowsLuLambdas && config.Flag("use_lu_lambdas", false) ? SigmaSchedule.LogLinear(schedule.Largest, schedule.Smallest, run.Steps)
            : null;
        double[] sigmas = spread ?? Array.ConvertAll(grid, t => schedule.At(t));
        float[] timesteps = spread is null
            ? grid
            : Array.ConvertAll(spread, sigma => (float)(truncates ? Math.Floor(schedule.TimestepOf(sigma)) : Math.Round(schedule.TimestepOf(sigma))));
        for (int i = 1; i < sigmas.Length; i++)
        {
            if (sigmas[i] >= sigmas[i - 1])
                throw new InvalidRequestException(
                    "steps",
                    $"calls {i - 1} and {i} of {sigmas.Length} fall on the same timestep {timesteps[i]}; ask for fewer steps");
        }

        double final = endsClean ? 0 : schedule.Smallest;
        return new(ReadPrediction(config), timesteps, [.. sigmas.Append(final).Select(sigma => NoiseLevel.FromSigma(sigma).Normalized)]);
    }

    /// <summary>The plan Euler, Euler ancestral, Heun and LMS have in common.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="run">The request.</param>
    /// <param name="schedule">The forward process.</param>
    /// <param name="knowsKarras">Whether the sampler knows <c>use_karras_sigmas</c>, whose timesteps are fractional.</param>
    /// <param name="smallest">Karras' smallest σ in place of that of the last timestep.</param>
    /// <param name="largest">Karras' largest σ in place of that of the first timestep.</param>
    /// <param name="final">The σ the run ends at.</param>
    public static SigmaPlan Exploding(
        SchedulerConfig config,
        SamplingRun run,
        SigmaSchedule schedule,
        bool knowsKarras = true,
        double? smallest = null,
        double? largest = null,
        double final = 0)
    {
        config.RefuseFlags("use_exponential_sigmas", "use_beta_sigmas");
        float[] timesteps = TimestepGrid.Standard(config, run, "linspace", fractional: true);
        double[] sigmas = Array.ConvertAll(timesteps, t => schedule.At(t));
        if (knowsKarras && config.Flag("use_karras_sigmas", false))
        {
            sigmas = SigmaSchedule.Karras(largest ?? sigmas[0], smallest ?? sigmas[^1], run.Steps);
            timesteps = Array.ConvertAll(sigmas, sigma => (float)schedule.TimestepOf(sigma));
        }

        return Exploding(ReadPrediction(config), timesteps, sigmas, final);
    }
}

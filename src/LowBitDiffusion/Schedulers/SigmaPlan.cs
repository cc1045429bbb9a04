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

    /// <summary>Variance preserving (DPM-Solver, UniPC): the same signal-to-noise ratios, scaled to unit variance.</summary>
    public static SigmaPlan Preserving(PredictionType prediction, float[] timesteps, double[] sigmas, double final) =>
        new(prediction, timesteps, [.. sigmas.Append(final).Select(sigma => NoiseLevel.FromSigma(sigma).Normalized)]);

    /// <summary>The plan Euler, Euler ancestral, Heun and LMS have in common.</summary>
    /// <param name="config">The configuration.</param>
    /// <param name="run">The request.</param>
    /// <param name="schedule">The forward process.</param>
    /// <param name="knowsKarras">Whether the sampler knows <c>use_karras_sigmas</c>, whose timesteps are fractional.</param>
    /// <param name="smallest">Karras' smallest σ in place of that of the last timestep.</param>
    /// <param name="largest">Karras' largest σ in place of that of the first timestep.</param>
    /// <param name="final">The σ the run ends at.</param>
    public static SigmaPlan Exploding(
        SchedulerConfig config, SamplingRun run, SigmaSchedule schedule, bool knowsKarras = true, double? smallest = null, double? largest = null, double final = 0)
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

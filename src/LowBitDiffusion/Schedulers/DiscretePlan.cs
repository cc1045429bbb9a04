namespace LowBitDiffusion.Schedulers;

/// <summary>The calls of the samplers that work on training timesteps and their ᾱ: DDPM, DDIM, PNDM, LCM.</summary>
/// <param name="Schedule">The forward process.</param>
/// <param name="Prediction">What the model predicts.</param>
/// <param name="Timesteps">One per call, integers.</param>
internal sealed record DiscretePlan(NoiseSchedule Schedule, PredictionType Prediction, float[] Timesteps)
    : CallPlan(Prediction, Timesteps, Array.ConvertAll(Timesteps, t => Schedule.Level((int)t)))
{
    /// <summary>Reads the schedule and takes the timesteps of the configured spacing, leading by default.</summary>
    /// <exception cref="InvalidRequestException">The offset pushes the first timestep out of the schedule.</exception>
    public static DiscretePlan Read(SchedulerConfig config, SamplingRun run) =>
        Read(config, NoiseSchedule.FromConfig(config), TimestepGrid.Standard(config, run));

    /// <summary>As above with timesteps of the scheduler's own making.</summary>
    /// <exception cref="InvalidRequestException">A timestep is outside the schedule.</exception>
    /// <exception cref="ModelFormatException">The model predicts noise where there is no signal.</exception>
    public static DiscretePlan Read(SchedulerConfig config, NoiseSchedule schedule, float[] timesteps)
    {
        float largest = timesteps.Max();
        if (largest >= config.TrainSteps)
            throw new InvalidRequestException(
                "steps",
                $"the run begins at timestep {largest}, but the model was trained on 0 to {config.TrainSteps - 1}; ask for fewer steps");
        PredictionType prediction = ReadPrediction(config);
        if (prediction == PredictionType.Epsilon && schedule.AlphasCumprod[(int)largest] == 0)
            throw config.Error(
                "prediction_type",
                $"epsilon says nothing about the sample at timestep {largest}, which is pure noise (rescale_betas_zero_snr); expected v_prediction or sample");
        return new DiscretePlan(schedule, prediction, timesteps);
    }

    /// <summary>The level of a timestep, or beyond the end of the run that of a clean sample or of timestep 0 (<c>set_alpha_to_one</c>).</summary>
    public NoiseLevel LevelOrFinal(int timestep, bool finalIsClean) =>
        timestep >= 0 ? Schedule.Level(timestep) : finalIsClean ? NoiseLevel.Clean : Schedule.Level(0);
}

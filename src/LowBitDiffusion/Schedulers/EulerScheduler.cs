using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>Euler's method (Karras et al. 2022, algorithm 2 without churn): <c>x' = x + (σ' − σ) ε</c>.</summary>
internal sealed class EulerScheduler : ExplodingScheduler
{
    private readonly float[] _slope;

    public EulerScheduler(SchedulerConfig config, SamplingRun run) : base(config, run, Plan(config, run)) => _slope = new float[run.SampleLength];

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        ToNoise(Level(call), prediction, sample, _slope);
        sample.Add(Level(call + 1).Sigma - Level(call).Sigma, _slope);
    }

    private static SigmaPlan Plan(SchedulerConfig config, SamplingRun run)
    {
        config.Choice("timestep_type", "discrete", ("discrete", true));
        var schedule = new SigmaSchedule(NoiseSchedule.FromConfig(config));
        double final = config.Choice("final_sigmas_type", "zero", ("zero", 0), ("sigma_min", schedule.Smallest));
        bool logLinear = config.Choice("interpolation_type", "linear", ("linear", false), ("log_linear", true));
        if (logLinear && config.Flag("use_karras_sigmas", false))
            throw config.Error("interpolation_type", "log_linear together with use_karras_sigmas is not supported");
        double? smallest = config.Has("sigma_min") ? config.Number("sigma_min", 0) : null;
        double? largest = config.Has("sigma_max") ? config.Number("sigma_max", 0) : null;
        if (smallest is <= 0) throw config.Error("sigma_min", $"expected more than 0, found {smallest}");
        if (largest is <= 0) throw config.Error("sigma_max", $"expected more than 0, found {largest}");

        SigmaPlan plan = SigmaPlan.Exploding(config, run, schedule, smallest: smallest, largest: largest, final: final);
        if (!logLinear) return plan;

        // Log-linear σ are n + 1 values down to the smallest of training, so the last step ends there whatever the final σ.
        double[] sigmas = SigmaSchedule.LogLinear(schedule.Largest, schedule.Smallest, run.Steps + 1);
        return SigmaPlan.Exploding(plan.Prediction, plan.Timesteps, sigmas[..^1], sigmas[^1]);
    }
}

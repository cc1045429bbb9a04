using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// Multistep consistency sampling: Luo, Tan, Huang, Li and Zhao, "Latent Consistency Models" (2023). Each call jumps to a clean sample and noises it to the
/// next level; the last returns the
/// clean sample.
/// <code>
/// s = t · timestep_scaling     y = s/√(s² + σ_d²) x₀ + σ_d²/(s² + σ_d²) x     x' = √ᾱ' y + √(1 − ᾱ') z
/// </code>
/// with σ_d = 0.5. The timesteps are picked evenly from the grid <c>k·(N div m) − 1</c>, k = 1 … m, that the model was distilled on.
/// </summary>
internal sealed class LcmScheduler : Scheduler
{
    private const double DataDeviation = 0.5;
    private readonly OriginalLimiter _limiter;
    private readonly double _timestepScaling;
    private readonly float[] _scratch;

    public LcmScheduler(SchedulerConfig config, SamplingRun run) : base(run, Plan(config, run))
    {
        _limiter = new OriginalLimiter(config, run, clipByDefault: false);
        _timestepScaling = config.Number("timestep_scaling", 10);
        _scratch = new float[run.SampleLength];
    }

    protected override OriginalLimiter Limiter => _limiter;

    public override bool NeedsNoise(int call) => call < Timesteps.Count - 1;

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        double scaled = Timesteps[call] * _timestepScaling;
        double norm = scaled * scaled + DataDeviation * DataDeviation;
        ToOriginal(Level(call), prediction, sample, _scratch);
        SampleMath.Combine(sample, DataDeviation * DataDeviation / norm, sample, scaled / Math.Sqrt(norm), _scratch);
        if (!NeedsNoise(call)) return;
        noise.FillNormal(_scratch);
        SampleMath.Combine(sample, Level(call + 1).Alpha, sample, Level(call + 1).Sigma, _scratch);
    }

    private static DiscretePlan Plan(SchedulerConfig config, SamplingRun run)
    {
        int grid = run.OriginalSteps ?? config.Integer("original_inference_steps", Math.Min(50, config.TrainSteps), 1, config.TrainSteps);
        if (grid < 1 || grid > config.TrainSteps)
            throw new InvalidRequestException("original steps", $"expected 1 to {config.TrainSteps}, the model's training steps, found {grid}");
        if (run.Steps > grid) throw new InvalidRequestException("steps", $"expected 1 to {grid}, the steps the model was distilled on, found {run.Steps}");
        int stride = config.TrainSteps / grid;
        double skip = (double)grid / run.Steps;
        float[] timesteps = [.. Enumerable.Range(0, run.Steps).Select(i => (float)((grid - (int)Math.Floor(i * skip)) * stride - 1))];
        return DiscretePlan.Read(config, NoiseSchedule.FromConfig(config, 0.00085, 0.012, "scaled_linear"), timesteps);
    }
}

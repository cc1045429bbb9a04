using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// Heun's method (Karras et al. 2022, algorithm 1): an Euler step to σ', the slope there, and the step again with the mean of both slopes. The last step, to
/// σ' = 0, is Euler's alone. So the
/// calls are
/// <code>
/// call       0     1     2     3     4    …    2n−2
/// level      0     1     1     2     2    …    n−1
/// half    Euler  Heun Euler  Heun Euler   …   Euler
/// </code>
/// </summary>
internal sealed class HeunScheduler : ExplodingScheduler
{
    private readonly OriginalLimiter _limiter;
    private readonly float[] _start;
    private readonly float[] _startSlope;
    private readonly float[] _slope;

    public HeunScheduler(SchedulerConfig config, SamplingRun run) : base(config, run, Plan(config, run))
    {
        _limiter = new OriginalLimiter(config, run, clipByDefault: false, knowsThresholding: false);
        (_start, _startSlope, _slope) = (new float[run.SampleLength], new float[run.SampleLength], new float[run.SampleLength]);
    }

    protected override OriginalLimiter Limiter => _limiter;

    public override bool CanBeginAt(int call) => call % 2 == 0;

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        bool euler = call % 2 == 0;
        double step = euler ? Level(call + 1).Sigma - Level(call).Sigma : Level(call).Sigma - Level(call - 1).Sigma;
        if (euler)
        {
            sample.CopyTo(_start);
            ToLimitedNoise(Level(call), prediction, sample, _startSlope);
            sample.Add(step, _startSlope);
        }
        else
        {
            ToLimitedNoise(Level(call), prediction, sample, _slope);
            SampleMath.Combine(sample, 1, _start, step / 2, _startSlope);
            sample.Add(step / 2, _slope);
        }
    }

    private static CallPlan Plan(SchedulerConfig config, SamplingRun run)
    {
        config.RefuseFlags("rescale_betas_zero_snr");
        SigmaPlan plan = SigmaPlan.Exploding(config, run, new SigmaSchedule(NoiseSchedule.FromConfig(config, 0.00085, 0.012, "linear")));
        int[] levels = [.. Enumerable.Range(0, 2 * run.Steps - 1).Select(call => (call + 1) / 2)];
        return new CallPlan(plan.Prediction, Array.ConvertAll(levels, i => plan.Timesteps[i]), [.. levels.Select(i => plan.Levels[i]), plan.Levels[^1]]);
    }
}

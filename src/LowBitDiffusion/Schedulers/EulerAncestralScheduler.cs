using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// Euler's method with ancestral noise (Crowson's k-diffusion): a step down to σ_down, then noise up to σ'.
/// <code>
/// σ_up² = σ'² (σ² − σ'²) / σ²     σ_down² = σ'² − σ_up²     x' = x + (σ_down − σ) ε + σ_up z
/// </code>
/// It draws noise at every step, also at the last, whose σ_up is 0.
/// </summary>
internal sealed class EulerAncestralScheduler(SchedulerConfig config, SamplingRun run) : ExplodingScheduler(config, run, Plan(config, run))
{
    private readonly float[] _scratch = new float[run.SampleLength];

    public override bool NeedsNoise(int call) => true;

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        (double from, double to) = (Level(call).Sigma, Level(call + 1).Sigma);
        double upSquared = to * to * (from * from - to * to) / (from * from);
        double down = Math.Sqrt(to * to - upSquared);

        ToNoise(Level(call), prediction, sample, _scratch);
        sample.Add(down - from, _scratch);
        noise.FillNormal(_scratch);
        sample.Add(Remaining(Math.Sqrt(upSquared), CarriedNoise(call, (down - from) * Level(call).Noise(Prediction).OfPrediction)), _scratch);
    }

    private static SigmaPlan Plan(SchedulerConfig config, SamplingRun run) =>
        SigmaPlan.Exploding(config, run, new SigmaSchedule(NoiseSchedule.FromConfig(config)), knowsKarras: false);
}

using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// DDIM: Song, Meng and Ermon, "Denoising Diffusion Implicit Models" (2021), equations 12 and 16.
/// <code>
/// s²  = η² (1 − ᾱ')/(1 − ᾱ) (1 − ᾱ/ᾱ')
/// x'  = √ᾱ' x₀ + √(1 − ᾱ' − s²) ε + s z
/// </code>
/// with ᾱ' that of timestep t − N div n, whatever the spacing. Clipping changes x₀ only; ε stays the model's unless the run asks for the clipped one.
/// </summary>
internal sealed class DdimScheduler : Scheduler
{
    private readonly DiscretePlan _plan;
    private readonly OriginalLimiter _limiter;
    private readonly bool _finalIsClean;
    private readonly int _stride;
    private readonly double _eta;
    private readonly bool _useClipped;
    private readonly float[] _original;
    private readonly float[] _epsilon;

    public DdimScheduler(SchedulerConfig config, SamplingRun run) : this(config, run, DiscretePlan.Read(config, run))
    {
    }

    private DdimScheduler(SchedulerConfig config, SamplingRun run, DiscretePlan plan) : base(run, plan)
    {
        _plan = plan;
        _limiter = new OriginalLimiter(config, run, clipByDefault: true);
        _finalIsClean = config.Flag("set_alpha_to_one", true);
        _stride = config.TrainSteps / run.Steps;
        (_eta, _useClipped) = (run.Eta, run.UseClippedModelOutput);
        (_original, _epsilon) = (new float[run.SampleLength], new float[run.SampleLength]);
    }

    protected override OriginalLimiter Limiter => _limiter;

    public override bool NeedsNoise(int call) => _eta > 0;

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        NoiseLevel level = Level(call);
        NoiseLevel previous = _plan.LevelOrFinal((int)Timesteps[call] - _stride, _finalIsClean);
        double alphaRatio = level.Alpha * level.Alpha / (previous.Alpha * previous.Alpha);
        double deviation = _eta * previous.Sigma / level.Sigma * Math.Sqrt(1 - alphaRatio);

        ToOriginal(level, prediction, sample, _original);
        if (_useClipped) ToLimitedNoise(level, prediction, sample, _epsilon);
        else ToNoise(level, prediction, sample, _epsilon);

        // At η = 1 rounding may leave the direction's square a hair below zero.
        double direction = Math.Sqrt(Math.Max(previous.Sigma * previous.Sigma - deviation * deviation, 0));
        SampleMath.Combine(sample, previous.Alpha, _original, direction, _epsilon);
        if (_eta == 0) return;
        noise.FillNormal(_epsilon);
        double ofPrediction = previous.Alpha * level.Original(Prediction).OfPrediction + direction * level.Noise(Prediction).OfPrediction;
        sample.Add(Remaining(deviation, CarriedNoise(call, ofPrediction)), _epsilon);
    }
}

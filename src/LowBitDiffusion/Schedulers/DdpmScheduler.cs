using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// DDPM's ancestral sampling: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020), equations 6 and 7, with ᾱ' of the next timestep in the
/// list and
/// <c>α = ᾱ/ᾱ'</c>, <c>β = 1 − α</c>.
/// <code>
/// x' = √ᾱ' β/(1 − ᾱ) x₀ + √α (1 − ᾱ')/(1 − ᾱ) x + s z          no noise at timestep 0
/// small variance  β̃ = max((1 − ᾱ')/(1 − ᾱ) β, 1e-20)           large variance  β
/// learned range   s = exp((f ln β + (1 − f) ln β̃) / 2),  f = (v + 1)/2 of the model's v   (Nichol and Dhariwal 2021, equation 15)
/// </code>
/// </summary>
internal sealed class DdpmScheduler : Scheduler
{
    private const double SmallestVariance = 1e-20;
    private readonly SchedulerConfig _config;
    private readonly DiscretePlan _plan;
    private readonly OriginalLimiter _limiter;
    private readonly Variance _kind;
    private readonly float[] _original;
    private readonly float[] _noise;
    private readonly float[] _learned;
    private readonly int _imageLength;
    private bool _hasLearned;

    public DdpmScheduler(SchedulerConfig config, SamplingRun run) : this(config, run, DiscretePlan.Read(config, run))
    {
    }

    private DdpmScheduler(SchedulerConfig config, SamplingRun run, DiscretePlan plan) : base(run, plan)
    {
        (_config, _plan) = (config, plan);
        _limiter = new OriginalLimiter(config, run, clipByDefault: true);
        _kind = config.Choice(
            "variance_type",
            "fixed_small",
            ("fixed_small", Variance.Small),
            ("fixed_small_log", Variance.Small),
            ("fixed_large", Variance.Large),
            ("learned_range", Variance.LearnedRange));
        (_original, _noise) = (new float[run.SampleLength], new float[run.SampleLength]);
        _learned = _kind == Variance.LearnedRange ? new float[run.SampleLength] : [];
        _imageLength = run.SampleLength / run.Batch;
    }

    private enum Variance
    {
        Small,
        Large,
        LearnedRange,
    }

    protected override OriginalLimiter Limiter => _limiter;

    public override bool NeedsNoise(int call) => Timesteps[call] > 0;

    protected override void TakeVariance(int image, ReadOnlySpan<float> variance)
    {
        if (_kind != Variance.LearnedRange) return;
        variance.CopyTo(_learned.AsSpan(image * _imageLength));
        _hasLearned = true;
    }

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        if (_kind == Variance.LearnedRange && !_hasLearned)
            throw _config.Error("variance_type", "learned_range needs a model that predicts a variance, which this one does not");
        NoiseLevel level = Level(call);
        NoiseLevel next = _plan.LevelOrFinal(call + 1 < Timesteps.Count ? (int)Timesteps[call + 1] : -1, finalIsClean: true);
        double alpha = level.Alpha * level.Alpha / (next.Alpha * next.Alpha);
        double beta = 1 - alpha;
        double variance = level.Sigma * level.Sigma;
        double nextVariance = next.Sigma * next.Sigma;

        ToOriginal(level, prediction, sample, _original);
        SampleMath.Combine(sample, Math.Sqrt(alpha) * nextVariance / variance, sample, next.Alpha * beta / variance, _original);
        if (!NeedsNoise(call)) return;
        noise.FillNormal(_noise);
        double carried = CarriedNoise(call, next.Alpha * beta / variance * level.Original(Prediction).OfPrediction);
        double small = Math.Max(nextVariance / variance * beta, SmallestVariance);
        if (_kind == Variance.LearnedRange) AddLearned(sample, Math.Log(small), Math.Log(beta), carried);
        else sample.Add(Remaining(Math.Sqrt(_kind == Variance.Large ? beta : small), carried), _noise);
    }

    private void AddLearned(Span<float> sample, double logSmall, double logLarge, double carried)
    {
        for (int i = 0; i < sample.Length; i++)
        {
            double fraction = (_learned[i] + 1.0) / 2;
            sample[i] += (float)Remaining(Math.Exp((fraction * logLarge + (1 - fraction) * logSmall) / 2), carried) * _noise[i];
        }
    }
}

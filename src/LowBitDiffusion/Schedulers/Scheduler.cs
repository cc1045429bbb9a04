using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// What all schedulers share: the noise level of each model call, conversions between prediction, noise and clean sample, checks, and the separation of a
/// predicted variance. A
/// scheduler adds its list of calls and <see cref="Advance"/>.
/// </summary>
internal abstract class Scheduler : IScheduler
{
    private readonly int _batch;
    private readonly int _sampleLength;
    private readonly float[] _timesteps;
    private readonly NoiseLevel[] _levels;
    private readonly Func<float, double>? _predictionNoise;
    private float[] _mean = [];
    private int? _lastCall;

    /// <summary>Creates a run.</summary>
    /// <param name="run">The request.</param>
    /// <param name="plan">The model calls.</param>
    protected Scheduler(SamplingRun run, CallPlan plan)
    {
        (_batch, _sampleLength, _timesteps, _levels, _predictionNoise) = (run.Batch, run.SampleLength, plan.Timesteps, plan.Levels, run.PredictionNoise);
        (Prediction, Timesteps) = (plan.Prediction, Array.AsReadOnly(plan.Timesteps));
    }

    public IReadOnlyList<float> Timesteps { get; }

    public virtual float InitialNoiseSigma => 1;

    protected PredictionType Prediction { get; }

    /// <summary>Calls made before this one.</summary>
    protected int CallsMade { get; private set; }

    protected NoiseLevel Level(int call) => _levels[call];

    public virtual bool CanBeginAt(int call) => true;

    public virtual bool NeedsNoise(int call) => false;

    public void ScaleModelInput(int call, ReadOnlySpan<float> sample, Span<float> scaled)
    {
        CheckCall(call);
        CheckLength(sample.Length, nameof(sample));
        CheckLength(scaled.Length, nameof(scaled));
        sample.CopyTo(scaled);
        double norm = ScalesModelInput ? _levels[call].Norm : 1;
        if (norm != 1) scaled.Scale(1 / norm);
    }

    public void Step(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        CheckCall(call);
        if (_lastCall is { } last && call != last + 1) throw new InvalidOperationException($"call {last} is followed by call {last + 1}, found {call}");
        if (_lastCall is null && !CanBeginAt(call)) throw new InvalidOperationException($"call {call} continues the one before, the run cannot begin there");
        CheckLength(sample.Length, nameof(sample));
        Advance(call, Mean(prediction), sample, noise);
        _lastCall = call;
        CallsMade++;
    }

    public void PredictOriginal(int call, ReadOnlySpan<float> prediction, ReadOnlySpan<float> sample, Span<float> original)
    {
        CheckCall(call);
        CheckLength(sample.Length, nameof(sample));
        CheckLength(original.Length, nameof(original));
        ToOriginal(_levels[call], Mean(prediction), sample, original);
    }

    public void AddNoise(int call, ReadOnlySpan<float> original, ReadOnlySpan<float> noise, Span<float> noisy)
    {
        CheckCall(call);
        CheckLength(original.Length, nameof(original));
        CheckLength(noise.Length, nameof(noise));
        CheckLength(noisy.Length, nameof(noisy));
        SampleMath.Combine(noisy, _levels[call].Alpha, original, _levels[call].Sigma, noise);
    }

    /// <summary>Whether the model sees the sample scaled to unit variance, as those that sample in Karras' σ do.</summary>
    protected virtual bool ScalesModelInput => false;

    /// <summary>Limits on the predicted clean sample, if the scheduler has any.</summary>
    protected virtual OriginalLimiter? Limiter => null;

    /// <summary>Replaces the sample by that of the next call.</summary>
    protected abstract void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise);

    /// <summary>A predicted variance <c>[N, C, H, W]</c>: the second half of the channels. Kept by schedulers that use it.</summary>
    protected virtual void TakeVariance(int image, ReadOnlySpan<float> variance)
    {
    }

    /// <summary>The clean sample a prediction implies, clipped or thresholded.</summary>
    protected void ToOriginal(NoiseLevel level, ReadOnlySpan<float> prediction, ReadOnlySpan<float> sample, Span<float> original)
    {
        (double ofSample, double ofPrediction) = level.Original(Prediction);
        SampleMath.Combine(original, ofSample, sample, ofPrediction, prediction);
        Limiter?.Apply(original);
    }

    /// <summary>The noise a prediction implies.</summary>
    protected void ToNoise(NoiseLevel level, ReadOnlySpan<float> prediction, ReadOnlySpan<float> sample, Span<float> noise)
    {
        (double ofSample, double ofPrediction) = level.Noise(Prediction);
        SampleMath.Combine(noise, ofSample, sample, ofPrediction, prediction);
    }

    /// <summary>The noise that goes with the clipped or thresholded clean sample: <c>(x − α x₀) / σ</c>.</summary>
    protected void ToLimitedNoise(NoiseLevel level, ReadOnlySpan<float> prediction, ReadOnlySpan<float> sample, Span<float> noise)
    {
        if (Limiter is not { IsActive: true })
        {
            ToNoise(level, prediction, sample, noise);
            return;
        }

        ToOriginal(level, prediction, sample, noise);
        SampleMath.Combine(noise, 1 / level.Sigma, sample, -level.Alpha / level.Sigma, noise);
    }

    /// <summary>Deviation of the noise that comes into the next sample with the prediction.</summary>
    /// <param name="call">The call.</param>
    /// <param name="ofPrediction">The prediction's coefficient in the next sample.</param>
    protected double CarriedNoise(int call, double ofPrediction) => _predictionNoise is null ? 0 : Math.Abs(ofPrediction) * _predictionNoise(_timesteps[call]);

    /// <summary>What is left to add of a noise when some is there already: <c>√max(s² − c², 0)</c>.</summary>
    protected static double Remaining(double deviation, double carried) => carried == 0 ? deviation : Math.Sqrt(Math.Max(deviation * deviation - carried * carried, 0));

    // [N, 2C, H, W] holds mean and variance image by image, so the mean of a batch is not contiguous.
    private ReadOnlySpan<float> Mean(ReadOnlySpan<float> prediction)
    {
        if (prediction.Length == _sampleLength) return prediction;
        if (prediction.Length != 2 * _sampleLength)
            throw new ArgumentException(
                $"a prediction has {_sampleLength} values, or twice as many with a variance, found {prediction.Length}",
                nameof(prediction));
        if (_mean.Length == 0) _mean = new float[_sampleLength];
        int length = _sampleLength / _batch;
        for (int i = 0; i < _batch; i++)
        {
            prediction.Slice(2 * i * length, length).CopyTo(_mean.AsSpan(i * length, length));
            TakeVariance(i, prediction.Slice((2 * i + 1) * length, length));
        }

        return _mean;
    }

    private void CheckCall(int call)
    {
        if ((uint)call >= (uint)_timesteps.Length) throw new ArgumentOutOfRangeException(nameof(call), call, $"the run has calls 0 to {_timesteps.Length - 1}");
    }

    private void CheckLength(int length, string parameter)
    {
        if (length != _sampleLength) throw new ArgumentException($"the run has samples of {_sampleLength} values, found {length}", parameter);
    }
}

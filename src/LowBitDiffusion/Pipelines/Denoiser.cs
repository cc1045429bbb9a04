using LowBitDiffusion.Execution;

namespace LowBitDiffusion.Pipelines;

/// <summary>
/// One call of a model as a sampler sees it. With classifier-free guidance (Ho and Salimans 2022) the network sees every image twice, with its condition and with none, in one batch or,
/// to save memory, in two passes:
/// <code>
/// e = e_none + g·(e_condition − e_none)
/// </code>
/// A network that also predicts a variance gives <c>[N, 2C, H, W]</c>; guidance concerns the first C channels, the variance is that of the condition, or is dropped.
/// </summary>
internal sealed class Denoiser : IDisposable
{
    private readonly PlannedNetwork _network;
    private readonly PlannedNetwork? _twin;
    private readonly float? _guidance;
    private readonly int _images;
    private readonly int _imageLength;
    private readonly int _predicted;
    private readonly int _kept;
    private readonly float[] _input;
    private readonly float[] _output;

    /// <summary>Wraps a network.</summary>
    /// <param name="network">For the batch, or for twice the batch where guidance takes one pass.</param>
    /// <param name="images">Images in a batch.</param>
    /// <param name="guidance">Scale, or null for none.</param>
    /// <param name="twoPasses">Whether guidance takes two passes.</param>
    /// <param name="dropVariance">Whether a predicted variance is dropped.</param>
    public Denoiser(PlannedNetwork network, int images, float? guidance, bool twoPasses, bool dropVariance)
    {
        (_network, _images, _guidance) = (network, images, guidance);
        bool one = guidance is not null && !twoPasses;
        int networkBatch = one ? 2 * images : images;
        _imageLength = network.SampleLength / networkBatch;
        _predicted = network.PredictionLength / networkBatch;
        _kept = dropVariance ? _imageLength : _predicted;
        _input = one ? new float[network.SampleLength] : [];
        _output = guidance is null && _kept == _predicted ? [] : new float[(guidance is null ? images : 2 * images) * _predicted];
        _twin = guidance is not null && twoPasses ? network.Twin() : null;
    }

    /// <summary>Elements of a prediction.</summary>
    public int PredictionLength => _images * _kept;

    /// <summary>Prepares all steps.</summary>
    public void Prepare(float[] timesteps, Func<ConditionHalf, IReadOnlyDictionary<string, float[]>> conditions, CancellationToken cancellationToken)
    {
        _network.Prepare(timesteps, conditions(_guidance is null || _twin is not null ? ConditionHalf.Conditional : ConditionHalf.Both), cancellationToken);
        _twin?.Prepare(timesteps, conditions(ConditionHalf.Unconditional), cancellationToken);
    }

    /// <summary>Predicts one step.</summary>
    public void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken)
    {
        if (_output.Length == 0)
        {
            _network.Predict(step, sample, prediction, cancellationToken);
            return;
        }

        if (_guidance is not null && _twin is null)
        {
            sample.CopyTo(_input);
            sample.CopyTo(_input.AsSpan(sample.Length));
            _network.Predict(step, _input, _output, cancellationToken);
        }
        else
        {
            int half = _images * _predicted;
            _network.Predict(step, sample, _output.AsSpan(0, half), cancellationToken);
            _twin?.Predict(step, sample, _output.AsSpan(half), cancellationToken);
        }

        for (int image = 0; image < _images; image++) Combine(image, prediction.Slice(image * _kept, _kept));
    }

    /// <inheritdoc/>
    public void Dispose() => _twin?.Dispose();

    private void Combine(int image, Span<float> prediction)
    {
        ReadOnlySpan<float> with = _output.AsSpan(image * _predicted, _kept);
        with.CopyTo(prediction);
        if (_guidance is not { } scale) return;
        ReadOnlySpan<float> none = _output.AsSpan((_images + image) * _predicted, _imageLength);
        for (int i = 0; i < none.Length; i++) prediction[i] = none[i] + scale * (with[i] - none[i]);
    }
}

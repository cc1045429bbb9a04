using LowBitDiffusion.Execution;

namespace LowBitDiffusion.Pipelines;

/// <summary>One call of a model as a sampler sees it. With <see cref="Guidance"/> the network sees every image twice, in one batch or, to save memory, in two passes.</summary>
internal sealed class Denoiser : IDisposable
{
    private readonly PlannedNetwork _network;
    private readonly PlannedNetwork? _twin;
    private readonly Guidance _guidance;
    private readonly bool _guided;
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
        (_network, _guided) = (network, guidance is not null);
        bool one = _guided && !twoPasses;
        int networkBatch = one ? 2 * images : images;
        _guidance = new Guidance(images, network.SampleLength / networkBatch, network.PredictionLength / networkBatch, guidance, dropVariance);
        _input = one ? new float[network.SampleLength] : [];
        _output = _guidance.IsIdentity ? [] : new float[_guidance.OutputLength];
        _twin = _guided && twoPasses ? network.Twin() : null;
    }

    /// <summary>Elements of a prediction.</summary>
    public int PredictionLength => _guidance.PredictionLength;

    /// <summary>Prepares all steps.</summary>
    public void Prepare(float[] timesteps, Func<ConditionHalf, IReadOnlyDictionary<string, float[]>> conditions, CancellationToken cancellationToken)
    {
        _network.Prepare(timesteps, conditions(!_guided || _twin is not null ? ConditionHalf.Conditional : ConditionHalf.Both), cancellationToken);
        _twin?.Prepare(timesteps, conditions(ConditionHalf.Unconditional), cancellationToken);
    }

    /// <summary>Predicts one step.</summary>
    public void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken)
    {
        if (_guidance.IsIdentity)
        {
            _network.Predict(step, sample, prediction, cancellationToken);
            return;
        }

        if (_guided && _twin is null)
        {
            sample.CopyTo(_input);
            sample.CopyTo(_input.AsSpan(sample.Length));
            _network.Predict(step, _input, _output, cancellationToken);
        }
        else
        {
            int half = _guided ? _output.Length / 2 : _output.Length;
            _network.Predict(step, sample, _output.AsSpan(0, half), cancellationToken);
            _twin?.Predict(step, sample, _output.AsSpan(half), cancellationToken);
        }

        _guidance.Combine(_output, prediction);
    }

    /// <inheritdoc/>
    public void Dispose() => _twin?.Dispose();
}

using LowBitDiffusion.Execution;

namespace LowBitDiffusion.Pipelines;

/// <summary>
/// One call of a model as a sampler sees it: with classifier-free guidance (Ho and Salimans 2022) the network sees every image twice in one batch, first with
/// its condition, then with none, and <c>e = e_null + g·(e_label − e_null)</c>.
/// </summary>
internal sealed class Denoiser(IDenoiser network, float? guidance, int sampleLength)
{
    private readonly float[] _input = guidance is null ? [] : new float[2 * sampleLength];
    private readonly float[] _output = guidance is null ? [] : new float[2 * sampleLength];

    /// <summary>Prepares all steps.</summary>
    public void Prepare(IReadOnlyList<float> timesteps, IReadOnlyDictionary<string, float[]> conditions, CancellationToken cancellationToken) =>
        network.Prepare([.. timesteps], conditions, cancellationToken);

    /// <summary>Predicts one step.</summary>
    public void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken)
    {
        if (guidance is not { } scale)
        {
            network.Predict(step, sample, prediction, cancellationToken);
            return;
        }

        sample.CopyTo(_input);
        sample.CopyTo(_input.AsSpan(sampleLength));
        network.Predict(step, _input, _output, cancellationToken);
        for (int i = 0; i < prediction.Length; i++)
        {
            float label = _output[i], none = _output[sampleLength + i];
            prediction[i] = none + scale * (label - none);
        }
    }
}

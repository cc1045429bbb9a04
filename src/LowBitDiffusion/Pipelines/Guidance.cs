namespace LowBitDiffusion.Pipelines;

/// <summary>
/// What a sampler makes of a network's output. With classifier-free guidance (Ho and Salimans 2022) the network has seen every image twice, with its condition and with none:
/// <code>
/// network's output  [ images with their conditions | the same images with none ]
/// e = e_none + g·(e_condition − e_none)
/// </code>
/// A network that also predicts a variance gives <c>[N, 2C, H, W]</c>; guidance concerns the first C channels, the variance is that of the condition, or is dropped.
/// </summary>
/// <param name="images">Images in a batch.</param>
/// <param name="imageLength">Elements of one image.</param>
/// <param name="predicted">Elements of the network's output for one image.</param>
/// <param name="scale">g, or null for no guidance.</param>
/// <param name="dropVariance">Whether a predicted variance is dropped.</param>
internal sealed class Guidance(int images, int imageLength, int predicted, float? scale, bool dropVariance)
{
    private readonly int _kept = dropVariance ? imageLength : predicted;

    /// <summary>Elements of a prediction.</summary>
    public int PredictionLength => images * _kept;

    /// <summary>Elements of the network's output.</summary>
    public int OutputLength => (scale is null ? images : 2 * images) * predicted;

    /// <summary>Whether the output is the prediction as it is.</summary>
    public bool IsIdentity => scale is null && _kept == predicted;

    /// <summary>Makes the prediction of a network's output.</summary>
    public void Combine(ReadOnlySpan<float> output, Span<float> prediction)
    {
        for (int image = 0; image < images; image++)
        {
            Span<float> combined = prediction.Slice(image * _kept, _kept);
            ReadOnlySpan<float> with = output.Slice(image * predicted, _kept);
            with.CopyTo(combined);
            if (scale is not { } g) continue;
            ReadOnlySpan<float> none = output.Slice((images + image) * predicted, imageLength);
            for (int i = 0; i < none.Length; i++) combined[i] = none[i] + g * (with[i] - none[i]);
        }
    }

    /// <summary>The gradient of the network's output from that of the prediction: <c>de_condition = g·de</c>, <c>de_none = (1 − g)·de</c>; what is dropped has none.</summary>
    public void Backward(ReadOnlySpan<float> prediction, Span<float> output)
    {
        output.Clear();
        for (int image = 0; image < images; image++)
        {
            ReadOnlySpan<float> combined = prediction.Slice(image * _kept, _kept);
            Span<float> with = output.Slice(image * predicted, _kept);
            combined.CopyTo(with);
            if (scale is not { } g) continue;
            Span<float> none = output.Slice((images + image) * predicted, imageLength);
            for (int i = 0; i < none.Length; i++) (with[i], none[i]) = (g * combined[i], (1 - g) * combined[i]);
        }
    }
}

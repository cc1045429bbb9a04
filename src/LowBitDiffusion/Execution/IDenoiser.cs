namespace LowBitDiffusion.Execution;

/// <summary>
/// A network ready to be called in a sampling loop: a batch of fixed size, everything that does not depend on the image prepared beforehand. Not thread-safe.
/// </summary>
public interface IDenoiser : IDisposable
{
    /// <summary>Elements of the sample <c>[N, C, H, W]</c>.</summary>
    int SampleLength { get; }

    /// <summary>Elements of the prediction.</summary>
    int PredictionLength { get; }

    /// <summary>
    /// Looks up the scales of all timesteps and computes all that does not depend on the image: time embeddings and their projections (the temporal feature cache of TFMQ-DM), modulations, text keys.
    /// </summary>
    /// <param name="timesteps">One value per step, in the order of the loop.</param>
    /// <param name="conditions">The network's inputs beside sample and timestep by name (<c>class_labels</c>), row-major; integers as numbers.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    void Prepare(ReadOnlySpan<float> timesteps, IReadOnlyDictionary<string, float[]> conditions, CancellationToken cancellationToken = default);

    /// <summary>Predicts for one step of the prepared loop.</summary>
    /// <param name="step">Index into the prepared timesteps.</param>
    /// <param name="sample"><c>[N, C, H, W]</c>.</param>
    /// <param name="prediction"><c>[N, C, H, W]</c>.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken = default);
}

using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>A denoiser on trajectories of its own: what it predicts decides what it is shown next.</summary>
public sealed class TrajectorySource : ICalibrationSource
{
    private readonly GuidedSampler _sampler;
    private readonly Func<int, ulong> _seedOf;
    private readonly int _predictionLength;

    /// <summary>Shows what a sampler shows.</summary>
    /// <param name="network">The denoiser.</param>
    /// <param name="sampler">The sampler.</param>
    /// <param name="seedOf">Seed of a picture by its number.</param>
    /// <param name="latents">Whether pictures are latents, which have no range of their own.</param>
    public TrajectorySource(INetwork network, GuidedSampler sampler, Func<int, ulong> seedOf, bool latents)
    {
        (_sampler, _seedOf) = (sampler, seedOf);
        _predictionLength = (int)network.Build(sampler.InputShapes).Outputs["sample"].Shape.Elements;
        Points = [.. sampler.Timesteps.Select(timestep => new ComparisonPoint(null, timestep, latents ? null : 2))];
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> InputShapes => _sampler.InputShapes;

    /// <inheritdoc/>
    public int Items => _sampler.Images;

    /// <inheritdoc/>
    public IReadOnlyList<float> Timesteps => _sampler.Timesteps;

    /// <inheritdoc/>
    public int? Worthwhile => null;

    /// <inheritdoc/>
    public IReadOnlyList<ComparisonPoint> Points { get; }

    /// <inheritdoc/>
    public void Pass(int first, NetworkCall run, ResultObserver? onResult = null, CancellationToken cancellationToken = default)
    {
        IReadOnlyDictionary<string, float[]> conditions = _sampler.Conditions(first);
        ulong[] seeds = [.. Enumerable.Range(first, Items).Select(_seedOf)];
        _sampler.Draw(Predict, _predictionLength, seeds, (call, sample) => onResult?.Invoke(call, sample), cancellationToken);

        void Predict(int call, ReadOnlySpan<float> sample, Span<float> prediction)
        {
            float[] timesteps = new float[_sampler.NetworkBatch];
            Array.Fill(timesteps, Timesteps[call]);
            run(call, new Dictionary<string, float[]>(conditions) { ["sample"] = sample.ToArray(), ["timestep"] = timesteps })["sample"].CopyTo(prediction);
        }
    }

    /// <inheritdoc/>
    public float[] Result(string output, float[] values) => _sampler.Guide(values);

    /// <inheritdoc/>
    public float[] ResultBackward(string output, float[] gradient, int length) => _sampler.GuideBackward(gradient, length);
}

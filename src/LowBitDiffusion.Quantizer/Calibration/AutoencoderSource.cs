using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>
/// Both halves of an autoencoder: its decoder on the latents that the pipeline's denoiser ends with, its encoder on the pictures, of 8 bits a channel, that the float decoder makes of them.
/// <code>
///   noise ──denoiser──► latent ──float decoder──► picture
///                          │                         │
///                     decoder's input           encoder's input
/// </code>
/// An autoencoder alone has no denoiser to ask. A diffusion's latents are scaled to unit variance, so it is shown noise of the standard normal distribution as such latents.
/// </summary>
public sealed class AutoencoderSource : ICalibrationSource
{
    private readonly LatentPictures _pictures;

    /// <summary>Shows some items at once.</summary>
    internal AutoencoderSource(LatentPictures pictures, int items)
    {
        (_pictures, Items) = (pictures, items);
        InputShapes = new Dictionary<string, TensorShape> { ["image"] = pictures.ImageShape.With(0, items), ["latent"] = pictures.LatentShape.With(0, items) };
        Points = [.. pictures.Network.MainOutputs.Select(output => new ComparisonPoint(output, 0, output == "decoded" ? 2 : null))];
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> InputShapes { get; }

    /// <inheritdoc/>
    public int Items { get; }

    /// <inheritdoc/>
    public IReadOnlyList<float> Timesteps => [0];

    /// <inheritdoc/>
    public int? Worthwhile => _pictures.Worthwhile;

    /// <inheritdoc/>
    public IReadOnlyList<ComparisonPoint> Points { get; }

    /// <inheritdoc/>
    public void Pass(int first, NetworkCall run, ResultObserver? onResult = null, CancellationToken cancellationToken = default)
    {
        IReadOnlyDictionary<string, float[]> outputs = run(0, _pictures.Inputs(first, Items, cancellationToken));
        for (int point = 0; point < Points.Count; point++) onResult?.Invoke(point, outputs[Points[point].Output!]);
    }
}

/// <summary>Latents with their pictures, each made once; pictures stay in memory as bytes.</summary>
/// <param name="model">The autoencoder, and its pipeline.</param>
/// <param name="options">How latents are drawn; its images are those worth their time.</param>
/// <param name="drawing">Told the share of the latents that are drawn.</param>
/// <param name="encoding">Told the share of the prompts that are encoded.</param>
internal sealed class LatentPictures(SourceModel model, CalibrationOptions options, IProgress<double>? drawing, IProgress<double>? encoding)
{
    private readonly Dictionary<int, (float[] Latent, Image Picture)> _known = [];

    /// <summary>The autoencoder.</summary>
    public IAutoencoder Network { get; } = (IAutoencoder)model.Network;

    /// <summary>How many of the first are worth their time.</summary>
    public int Worthwhile => options.Images;

    /// <summary>Shape of a latent.</summary>
    public TensorShape LatentShape { get; } = ShapeOf(model, options.Sampling);

    /// <summary>Shape of a picture.</summary>
    public TensorShape ImageShape => new(1, Network.ImageChannels, LatentShape[2] * Network.Factor, LatentShape[3] * Network.Factor);

    /// <summary>Latents as the decoder reads them, and pictures.</summary>
    public IReadOnlyDictionary<string, float[]> Inputs(int first, int count, CancellationToken cancellationToken)
    {
        // All that are worth their time at once, so that denoiser and decoder are read once.
        if (first < options.Images) Make(0, Math.Max(options.Images, first + count), cancellationToken);
        else Make(first, first + count, cancellationToken);
        (float[] Latent, Image Picture)[] items = [.. Enumerable.Range(first, count).Select(number => _known[number])];
        return new Dictionary<string, float[]> { ["image"] = [.. items.SelectMany(item => item.Picture.ToSample())], ["latent"] = [.. items.SelectMany(item => item.Latent)] };
    }

    private static TensorShape ShapeOf(SourceModel model, SamplingSettings sampling)
    {
        IAutoencoder network = (IAutoencoder)model.Network;
        if (network.ImageChannels != network.EncodedChannels)
            throw new InvalidRequestException("component", $"expected an autoencoder of the images that it decodes, found one of {network.EncodedChannels} channels to {network.ImageChannels}");
        TensorShape latent = network.NativeInputs(batch: 1)["latent"];
        if (model.Pipeline is { } pipeline) latent = GenerationPlan.Create(sampling.ToRequest(model), pipeline).SampleShape;
        else if (sampling.Height is not null || sampling.Width is not null) latent = latent.With(2, Side("height", sampling.Height ?? latent[2] * network.Factor)).With(3, Side("width", sampling.Width ?? latent[3] * network.Factor));
        return latent;

        int Side(string name, int pixels) => pixels > 0 && pixels % network.Factor == 0 ? pixels / network.Factor : throw new InvalidRequestException(name, $"expected a multiple of {network.Factor}, found {pixels}");
    }

    private void Make(int first, int end, CancellationToken cancellationToken)
    {
        int[] missing = [.. Enumerable.Range(first, end - first).Where(number => !_known.ContainsKey(number))];
        if (missing.Length == 0) return;
        IEnumerable<(int Number, float[] Latent)> latents = model.Pipeline is { } pipeline ? Drawn(pipeline, missing[0], missing[^1] + 1, cancellationToken) : missing.Select(Noise);
        (int Number, float[] Latent)[] made = [.. latents.Where(one => missing.Contains(one.Number))];
        using PreparedModel prepared = new(model.Network, model.Weights);
        using PlannedNetwork decoder = prepared.Compile(new Dictionary<string, TensorShape> { ["latent"] = LatentShape }, model.Pool, outputs: ["decoded"], cancellationToken: cancellationToken);
        foreach ((int number, float[] latent) in made)
        {
            for (int i = 0; i < latent.Length; i++) latent[i] = latent[i] / Network.ScalingFactor + Network.ShiftFactor;
            float[] decoded = decoder.Run(new Dictionary<string, float[]> { ["latent"] = latent }, cancellationToken: cancellationToken)["decoded"];
            _known.Add(number, (latent, Image.FromSample(decoded, ImageShape[1], ImageShape[2], ImageShape[3])));
        }
    }

    private (int Number, float[] Latent) Noise(int number)
    {
        float[] latent = new float[LatentShape.Elements];
        NoiseGenerators.CreateBatch(NoiseSource.TorchCpu, Calibrator.SeedsOf(options.Seed, number, 1)).FillNormal(latent);
        return (number, latent);
    }

    private IEnumerable<(int Number, float[] Latent)> Drawn(DiffusionModel pipeline, int first, int end, CancellationToken cancellationToken)
    {
        GuidedSampler sampler = new(model, options.Sampling, Math.Min(options.Batch, end - first), encoding, cancellationToken);
        using ModelComponent.Lease lease = pipeline.Denoiser.Rent(sampler.InputShapes, keep: Keep.Nothing, cancellationToken: cancellationToken);
        int calls = sampler.Timesteps.Count, batches = (end - first + sampler.Images - 1) / sampler.Images;
        for (int batch = 0; batch < batches; batch++)
        {
            (int done, int number) = (batch, first + batch * sampler.Images);
            float[] drawn = sampler.Draw(
                lease.Network, number, Calibrator.SeedsOf(options.Seed, number, sampler.Images), (call, _) => drawing?.Report((done + (call + 1.0) / calls) / batches), cancellationToken);
            foreach (float[] latent in drawn.Chunk((int)LatentShape.Elements)) yield return (number++, latent);
        }
    }
}

using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>Predicts for the network's whole batch.</summary>
/// <param name="call">Index into <see cref="GuidedSampler.Timesteps"/>.</param>
/// <param name="sample">The network's batch <c>[N, C, H, W]</c>.</param>
/// <param name="prediction">Receives the prediction.</param>
public delegate void Predictor(int call, ReadOnlySpan<float> sample, Span<float> prediction);

/// <summary>
/// The sampling loop that calibration and evaluation share: noise from a seed per image, classifier-free guidance with both halves in one batch, the model's own sampler. Pictures are
/// numbered without end: their subjects, labels or prompts, take turns. A model with an autoencoder draws latents.
/// <code>
/// network's batch   [ images with label or prompt | the same images with the null label or empty prompt ]
/// e = e_null + g·(e_label − e_null)
/// </code>
/// </summary>
public sealed class GuidedSampler
{
    private readonly GenerationPlan _plan;
    private readonly ConditionSet _conditions;
    private readonly bool _dropsVariance;
    private readonly int _sampleLength;

    /// <summary>Creates the loop for batches of one size; prompts are encoded.</summary>
    /// <param name="model">The model.</param>
    /// <param name="settings">How pictures are drawn.</param>
    /// <param name="images">Pictures drawn at once.</param>
    /// <param name="progress">Share of the prompts that is encoded; nothing is told where they were before.</param>
    /// <param name="cancellationToken">Checked between layers of text encoders.</param>
    /// <exception cref="InvalidRequestException">The settings ask for what the model or its sampler cannot do.</exception>
    public GuidedSampler(SourceModel model, SamplingSettings settings, int images, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        if (images < 1) throw new InvalidRequestException("batch", $"expected at least one image, found {images}");
        DiffusionModel pipeline = model.Pipeline ?? throw new InvalidRequestException("model", $"expected a whole model's folder to draw with, found a network's alone, {model.Path}");
        _plan = GenerationPlan.Create(settings.ToRequest(model), pipeline);
        (Images, _dropsVariance) = (images, pipeline.DropsVariance);
        _conditions = _plan.Conditions(model.Encode(_plan.Text?.ToEncode(_plan.Guided) ?? [], progress, cancellationToken));
        InputShapes = _plan.NetworkInputs(NetworkBatch);
        _sampleLength = images * (int)ImageShape.Elements;
        Timesteps = [.. _plan.CreateScheduler(images).Timesteps];
    }

    /// <summary>Pictures drawn at once.</summary>
    public int Images { get; }

    /// <summary>Whether the network sees every picture twice.</summary>
    public bool Guided => _plan.Guided;

    /// <summary>Images in the network's batch.</summary>
    public int NetworkBatch => Guided ? 2 * Images : Images;

    /// <summary>Shapes of the network's inputs.</summary>
    public IReadOnlyDictionary<string, TensorShape> InputShapes { get; }

    /// <summary>Shape of one picture, or of its latent, <c>[1, C, H, W]</c>.</summary>
    public TensorShape ImageShape => _plan.SampleShape;

    /// <summary>The timestep of every call of the network.</summary>
    public IReadOnlyList<float> Timesteps { get; }

    /// <summary>The network's inputs beside sample and timestep, by name, for its whole batch: of pictures <paramref name="first"/> … <paramref name="first"/> + <see cref="Images"/> − 1.</summary>
    public IReadOnlyDictionary<string, float[]> Conditions(int first) => _conditions.Batch(first, Images, Guided ? ConditionHalf.Both : ConditionHalf.Conditional);

    /// <summary>Draws pictures with a prepared network.</summary>
    /// <param name="network">The network for <see cref="InputShapes"/>.</param>
    /// <param name="first">Number of the first picture: its subject, see <see cref="Conditions"/>.</param>
    /// <param name="seeds">One seed per picture.</param>
    /// <param name="onSample">Told the sample after every call.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <returns>The pictures, or their latents, <c>[images, C, H, W]</c>.</returns>
    public float[] Draw(IDenoiser network, int first, IReadOnlyList<ulong> seeds, Action<int, ReadOnlySpan<float>>? onSample = null, CancellationToken cancellationToken = default)
    {
        network.Prepare([.. Timesteps], Conditions(first), cancellationToken);
        return Draw((call, sample, prediction) => network.Predict(call, sample, prediction, cancellationToken), network.PredictionLength, seeds, onSample, cancellationToken);
    }

    /// <summary>Draws pictures with any predictor.</summary>
    /// <param name="predict">Predicts for the network's batch.</param>
    /// <param name="predictionLength">Elements of a prediction.</param>
    /// <param name="seeds">One seed per picture.</param>
    /// <param name="onSample">Told the sample after every call.</param>
    /// <param name="cancellationToken">Checked before every call.</param>
    /// <returns>The pictures, or their latents, <c>[images, C, H, W]</c>.</returns>
    public float[] Draw(Predictor predict, int predictionLength, IReadOnlyList<ulong> seeds, Action<int, ReadOnlySpan<float>>? onSample = null, CancellationToken cancellationToken = default)
    {
        if (seeds.Count != Images) throw new InvalidRequestException("seeds", $"expected {Images}, one per image, found {seeds.Count}");
        IScheduler scheduler = _plan.CreateScheduler(Images);
        INoiseGenerator noise = NoiseGenerators.CreateBatch(NoiseSource.TorchCpu, [.. seeds]);
        Guidance guidance = GuidanceOf(predictionLength);
        float[] sample = new float[_sampleLength], input = new float[NetworkBatch * (int)ImageShape.Elements], output = new float[predictionLength], prediction = new float[guidance.PredictionLength];
        noise.FillNormal(sample);
        for (int i = 0; i < sample.Length; i++) sample[i] *= scheduler.InitialNoiseSigma;
        for (int call = 0; call < Timesteps.Count; call++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            scheduler.ScaleModelInput(call, sample, input.AsSpan(0, _sampleLength));
            if (Guided) input.AsSpan(0, _sampleLength).CopyTo(input.AsSpan(_sampleLength));
            predict(call, input, output);
            guidance.Combine(output, prediction);
            scheduler.Step(call, prediction, sample, noise);
            onSample?.Invoke(call, sample);
        }

        return sample;
    }

    /// <summary>What the sampler makes of the network's output: the guided predictions of <see cref="Images"/> pictures.</summary>
    internal float[] Guide(ReadOnlySpan<float> output)
    {
        Guidance guidance = GuidanceOf(output.Length);
        float[] prediction = new float[guidance.PredictionLength];
        guidance.Combine(output, prediction);
        return prediction;
    }

    /// <summary>The gradient of a network's output of <paramref name="outputLength"/> elements, from that of the guided predictions.</summary>
    internal float[] GuideBackward(ReadOnlySpan<float> gradient, int outputLength)
    {
        float[] output = new float[outputLength];
        GuidanceOf(outputLength).Backward(gradient, output);
        return output;
    }

    private Guidance GuidanceOf(int outputLength) => new(Images, (int)ImageShape.Elements, outputLength / NetworkBatch, Guided ? _plan.Guidance : null, _dropsVariance);
}

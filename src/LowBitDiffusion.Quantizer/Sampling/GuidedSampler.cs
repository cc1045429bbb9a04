using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>How pictures are drawn.</summary>
/// <param name="Steps">Steps of the sampler.</param>
/// <param name="GuidanceScale">Scale of classifier-free guidance; 1 for none.</param>
/// <param name="Eta">DDIM's η: 0 deterministic, 1 as much noise as DDPM.</param>
public sealed record SamplingSettings(int Steps, float GuidanceScale = 1, double Eta = 0)
{
    /// <summary>The model's own choices, and without any: 20 steps, no guidance.</summary>
    public static SamplingSettings For(SourceModel model) => new(model.Folder.DefaultSteps ?? 20, model.Labels.Count > 0 ? model.Folder.DefaultGuidanceScale ?? 1 : 1);
}

/// <summary>Predicts for the network's whole batch.</summary>
/// <param name="call">Index into <see cref="GuidedSampler.Timesteps"/>.</param>
/// <param name="sample">The network's batch <c>[N, C, H, W]</c>.</param>
/// <param name="prediction">Receives the prediction.</param>
public delegate void Predictor(int call, ReadOnlySpan<float> sample, Span<float> prediction);

/// <summary>
/// The sampling loop that calibration and evaluation share: noise from a seed per image, classifier-free guidance with both halves in one batch, the model's own sampler.
/// <code>
/// network's batch   [ images with labels | the same images with the null label ]
/// e = e_null + g·(e_label − e_null)
/// </code>
/// </summary>
public sealed class GuidedSampler
{
    private readonly SourceModel _model;
    private readonly SamplingSettings _settings;
    private readonly int _sampleLength;

    /// <summary>Creates the loop for batches of one size.</summary>
    /// <param name="model">The model.</param>
    /// <param name="settings">How pictures are drawn.</param>
    /// <param name="images">Pictures drawn at once.</param>
    /// <exception cref="InvalidRequestException">The settings ask for what the model or its sampler cannot do.</exception>
    public GuidedSampler(SourceModel model, SamplingSettings settings, int images)
    {
        if (images < 1) throw new InvalidRequestException("batch", $"expected at least one image, found {images}");
        if (!float.IsFinite(settings.GuidanceScale)) throw new InvalidRequestException("guidance", $"expected a finite number, found {settings.GuidanceScale}");
        string[] unknown = [.. model.Network.InputNames.Except(["sample", "timestep", "class_labels"])];
        if (unknown.Length > 0) throw new InvalidRequestException("model", $"its network needs {string.Join(", ", unknown)}, expected sample, timestep and class_labels alone");
        if (model.HasLabels && model.Labels.Count == 0) throw new InvalidRequestException("model", "its network needs labels, and neither id2label nor the configuration says which there are");
        Guided = settings.GuidanceScale != 1;
        if (Guided && (model.Labels.Count == 0 || model.Folder.NullLabel is null)) throw new InvalidRequestException("guidance", $"the model has no null label, expected 1, found {settings.GuidanceScale}");
        (_model, _settings, Images) = (model, settings, images);
        InputShapes = model.Network.NativeInputs(NetworkBatch);
        ImageShape = InputShapes["sample"].With(0, 1);
        _sampleLength = images * (int)ImageShape.Elements;
        Timesteps = [.. CreateScheduler().Timesteps];
    }

    /// <summary>Pictures drawn at once.</summary>
    public int Images { get; }

    /// <summary>Whether the network sees every picture twice.</summary>
    public bool Guided { get; }

    /// <summary>Images in the network's batch.</summary>
    public int NetworkBatch => Guided ? 2 * Images : Images;

    /// <summary>Shapes of the network's inputs.</summary>
    public IReadOnlyDictionary<string, TensorShape> InputShapes { get; }

    /// <summary>Shape of one picture, <c>[1, C, H, W]</c>.</summary>
    public TensorShape ImageShape { get; }

    /// <summary>The timestep of every call of the network.</summary>
    public IReadOnlyList<float> Timesteps { get; }

    /// <summary>The network's inputs beside sample and timestep.</summary>
    /// <param name="labels">One label per picture; ignored by a model without labels.</param>
    public IReadOnlyDictionary<string, float[]> Conditions(IReadOnlyList<int> labels)
    {
        if (!_model.HasLabels) return new Dictionary<string, float[]>();
        if (labels.Count != Images) throw new InvalidRequestException("labels", $"expected {Images}, one per image, found {labels.Count}");
        float[] values = [.. labels.Select(label => (float)label), .. Guided ? Enumerable.Repeat((float)_model.Folder.NullLabel!.Value, Images) : []];
        return new Dictionary<string, float[]> { ["class_labels"] = values };
    }

    /// <summary>Draws pictures with a prepared network.</summary>
    /// <param name="network">The network for <see cref="InputShapes"/>.</param>
    /// <param name="labels">One label per picture.</param>
    /// <param name="seeds">One seed per picture.</param>
    /// <param name="onSample">Told the sample after every call.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <returns>The pictures <c>[images, C, H, W]</c>.</returns>
    public float[] Draw(IDenoiser network, IReadOnlyList<int> labels, IReadOnlyList<ulong> seeds, Action<int, ReadOnlySpan<float>>? onSample = null, CancellationToken cancellationToken = default)
    {
        network.Prepare([.. Timesteps], Conditions(labels), cancellationToken);
        return Draw((call, sample, prediction) => network.Predict(call, sample, prediction, cancellationToken), network.PredictionLength, seeds, onSample, cancellationToken);
    }

    /// <summary>Draws pictures with any predictor.</summary>
    /// <param name="predict">Predicts for the network's batch.</param>
    /// <param name="predictionLength">Elements of a prediction.</param>
    /// <param name="seeds">One seed per picture.</param>
    /// <param name="onSample">Told the sample after every call.</param>
    /// <param name="cancellationToken">Checked before every call.</param>
    /// <returns>The pictures <c>[images, C, H, W]</c>.</returns>
    public float[] Draw(Predictor predict, int predictionLength, IReadOnlyList<ulong> seeds, Action<int, ReadOnlySpan<float>>? onSample = null, CancellationToken cancellationToken = default)
    {
        if (seeds.Count != Images) throw new InvalidRequestException("seeds", $"expected {Images}, one per image, found {seeds.Count}");
        IScheduler scheduler = CreateScheduler();
        INoiseGenerator noise = NoiseGenerators.CreateBatch(NoiseSource.TorchCpu, [.. seeds]);
        float[] sample = new float[_sampleLength], input = new float[Guided ? 2 * _sampleLength : _sampleLength], prediction = new float[predictionLength];
        noise.FillNormal(sample);
        for (int i = 0; i < sample.Length; i++) sample[i] *= scheduler.InitialNoiseSigma;
        for (int call = 0; call < Timesteps.Count; call++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            scheduler.ScaleModelInput(call, sample, input.AsSpan(0, _sampleLength));
            if (Guided) input.AsSpan(0, _sampleLength).CopyTo(input.AsSpan(_sampleLength));
            predict(call, input, prediction);
            scheduler.Step(call, Guide(prediction), sample, noise);
            onSample?.Invoke(call, sample);
        }

        return sample;
    }

    /// <summary>What the sampler sees of a prediction for the network's batch.</summary>
    /// <param name="prediction">The prediction; with guidance its first half is replaced.</param>
    /// <returns>The prediction for the pictures, in <paramref name="prediction"/>.</returns>
    public ReadOnlySpan<float> Guide(float[] prediction)
    {
        if (!Guided) return prediction;
        Span<float> conditional = prediction.AsSpan(0, prediction.Length / 2), unconditional = prediction.AsSpan(prediction.Length / 2);
        for (int i = 0; i < conditional.Length; i++) conditional[i] = unconditional[i] + _settings.GuidanceScale * (conditional[i] - unconditional[i]);
        return conditional;
    }

    private IScheduler CreateScheduler() => SchedulerFactory.Create(_model.Scheduler, new SamplingRun(_settings.Steps, Images, _sampleLength) { Eta = _settings.Eta });
}

using System.Diagnostics;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Pipelines;

/// <summary>Told the samples of a batch after every call of the sampler.</summary>
/// <param name="first">The batch's first image.</param>
/// <param name="count">Its images.</param>
/// <param name="call">The call, from 0.</param>
/// <param name="timestep">Its timestep.</param>
/// <param name="samples"><c>[count, C, h, w]</c>, as the sampler has them; valid while it is told.</param>
internal delegate void SampleObserver(int first, int count, int call, float timestep, ReadOnlySpan<float> samples);

/// <summary>One request being drawn: texts and the initial image are encoded once, then batches are sampled and decoded one after the other.</summary>
internal sealed class GenerationRun(DiffusionModel model, GenerationPlan plan, bool previews, CancellationToken cancellationToken)
{
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly int _imageLength = (int)plan.SampleShape.Elements;
    private readonly int _calls = plan.Calls - plan.FirstCall;
    private double _done;
    private double _work;
    private int _finished;

    /// <summary>Told the samples after every call.</summary>
    public SampleObserver? Observer { get; init; }

    /// <summary>Told of every update, and how far encoding and decoding are between them.</summary>
    public IProgress<GenerationProgress>? Progress { get; init; }

    /// <summary>Does the work, as far as updates are taken.</summary>
    public IEnumerable<GenerationUpdate> Updates()
    {
        using IDisposable hold = model.AddReference();
        if (!plan.Memory.KeepsActivations)
        {
            foreach (ModelComponent component in model.Components) component.Trim();
        }

        IReadOnlyList<string> texts = plan.Text?.ToEncode(plan.Guided) ?? [];
        bool encodesImage = plan.InitSample is not null && model.Autoencoder is not null, decodes = model.Autoencoder is not null;
        _work = (texts.Count > 0 ? 1 : 0) + (encodesImage ? 1 : 0) + (double)plan.Images * (_calls + (decodes ? 1 : 0));

        Dictionary<string, Dictionary<string, float[]>> encoded = [];
        if (texts.Count > 0)
        {
            encoded = model.Text!.Encode(texts, plan.Memory.KeepText, Within(GenerationStage.Encoding), cancellationToken);
            yield return Update(GenerationStage.Encoding, work: 1);
        }

        ConditionSet conditions = plan.Conditions(encoded);
        EncodedImage? init = plan.InitSample is null ? null : new EncodedImage(plan.InitSample, null, 1, 0);
        if (encodesImage)
        {
            init = model.Autoencoder!.Encode(plan.InitSample!, plan.Height, plan.Width, plan.Memory.Keep, Within(GenerationStage.Encoding), cancellationToken);
            yield return Update(GenerationStage.Encoding, work: 1);
        }

        for (int first = 0; first < plan.Images; first += plan.Memory.Batch)
        {
            int count = Math.Min(plan.Memory.Batch, plan.Images - first);
            float[] sample = new float[count * _imageLength];
            foreach (GenerationUpdate update in Sample(conditions, init, first, count, sample)) yield return update;
            if (!decodes) continue;
            using LatentDecoder decoder = Decoder();
            for (int i = 0; i < count; i++)
            {
                GeneratedImage image = Decode(decoder, first + i, sample.AsSpan(i * _imageLength, _imageLength));
                _finished++;
                yield return Update(GenerationStage.Decoding, work: 1, finished: [image]);
            }
        }
    }

    private IEnumerable<GenerationUpdate> Sample(ConditionSet conditions, EncodedImage? init, int first, int count, float[] sample)
    {
        MemoryPlan memory = plan.Memory;
        using ModelComponent.Lease lease = model.Denoiser.Rent(
            plan.NetworkInputs(plan.Guided && !memory.TwoPasses ? 2 * count : count), keep: memory.Keep, cancellationToken: cancellationToken);
        using Denoiser denoiser = new(lease.Network, count, plan.Guided ? plan.Guidance : null, memory.TwoPasses, model.DropsVariance);
        float[] scaled = new float[sample.Length], prediction = new float[denoiser.PredictionLength];
        INoiseGenerator noise = NoiseGenerators.CreateBatch(plan.NoiseSource, plan.Seeds.AsSpan(first, count));
        IScheduler scheduler = plan.CreateScheduler(count);
        Begin(scheduler, init, noise, sample);
        denoiser.Prepare([.. scheduler.Timesteps.Skip(plan.FirstCall)], half => conditions.Batch(first, count, half), cancellationToken);
        for (int call = plan.FirstCall; call < plan.Calls; call++)
        {
            scheduler.ScaleModelInput(call, sample, scaled);
            denoiser.Predict(call - plan.FirstCall, scaled, prediction, cancellationToken);
            plan.Correction?.Apply(scheduler.Timesteps[call], prediction, count, _imageLength);
            IReadOnlyList<Image> preview = previews ? Preview(scheduler, call, prediction, sample, count) : [];
            scheduler.Step(call, prediction, sample, noise);
            Observer?.Invoke(first, count, call - plan.FirstCall, scheduler.Timesteps[call], sample);
            bool complete = call == plan.Calls - 1 && model.Autoencoder is null;
            if (complete) _finished += count;
            yield return Update(
                GenerationStage.Sampling, count, call + 1 - plan.FirstCall, scheduler.Timesteps[call], preview,
                complete ? [.. Enumerable.Range(0, count).Select(i => Finish(first + i, sample.AsSpan(i * _imageLength, _imageLength).ToArray()))] : []);
        }
    }

    /// <summary>Noise, or the initial image with as much noise as the first call expects.</summary>
    private void Begin(IScheduler scheduler, EncodedImage? init, INoiseGenerator noise, float[] sample)
    {
        if (init is null)
        {
            noise.FillNormal(sample);
            for (int i = 0; i < sample.Length; i++) sample[i] *= scheduler.InitialNoiseSigma;
            return;
        }

        float[] original = new float[sample.Length];
        if (init.IsRandom) noise.FillNormal(original);
        for (int at = 0; at < original.Length; at += init.Mean.Length) init.Draw(original.AsSpan(at, init.Mean.Length));
        noise.FillNormal(sample);
        scheduler.AddNoise(plan.FirstCall, original, sample, sample);
    }

    private LatentDecoder Decoder() => model.Autoencoder!.Decoder(plan.SampleShape[2], plan.SampleShape[3], plan.Memory.Tiling, plan.Memory.Keep, cancellationToken);

    private IReadOnlyList<Image> Preview(IScheduler scheduler, int call, float[] prediction, float[] sample, int count)
    {
        float[] original = new float[sample.Length];
        scheduler.PredictOriginal(call, prediction, sample, original);
        using LatentDecoder? decoder = model.Autoencoder is null ? null : Decoder();
        List<Image> images = [];
        for (int i = 0; i < count; i++)
        {
            Span<float> one = original.AsSpan(i * _imageLength, _imageLength);
            images.Add(decoder is null ? ToImage(one) : decoder.DecodeImage(one, progress: null, cancellationToken));
        }

        return images;
    }

    private GeneratedImage Decode(LatentDecoder decoder, int image, ReadOnlySpan<float> latent)
    {
        IProgress<double>? progress = Within(GenerationStage.Decoding);
        return plan.KeepsSamples ? Finish(image, decoder.Decode(latent, progress, cancellationToken)) : Finish(image, decoder.DecodeImage(latent, progress, cancellationToken), []);
    }

    private GeneratedImage Finish(int image, float[] sample) => Finish(image, ToImage(sample), plan.KeepsSamples ? sample : []);

    private GeneratedImage Finish(int image, Image picture, float[] sample) => new(picture, sample, plan.Labels.Count > 0 ? plan.Labels[image] : null, plan.Seeds[image])
    {
        Prompt = plan.Text?.Prompt(image),
        Truncated = plan.Text?.Truncated(image, plan.Guided) ?? [],
    };

    private Image ToImage(ReadOnlySpan<float> sample) => Image.FromSample(sample, model.Description.Channels, plan.Height, plan.Width);

    private GenerationUpdate Update(
        GenerationStage stage, double work, int step = 0, float timestep = 0, IReadOnlyList<Image>? preview = null, IReadOnlyList<GeneratedImage>? finished = null)
    {
        _done += work;
        GenerationProgress progress = At(stage, step, _done);
        Progress?.Report(progress);
        return new GenerationUpdate(progress, timestep, preview ?? [], finished ?? []);
    }

    private GenerationProgress At(GenerationStage stage, int step, double done) =>
        new(stage, _finished, plan.Images, stage == GenerationStage.Decoding ? _calls : step, _calls, done / _work, Stopwatch.GetElapsedTime(_start));

    /// <summary>Progress of a piece of work that counts as one.</summary>
    private IProgress<double>? Within(GenerationStage stage) => Progress is null ? null : new Piece(this, stage);

    private sealed class Piece(GenerationRun run, GenerationStage stage) : IProgress<double>
    {
        // The end is told by the update. Fractions that are sums do not hit 1 exactly.
        public void Report(double value)
        {
            if (value < 1 - 1e-9) run.Progress!.Report(run.At(stage, 0, run._done + value) with { UnderWay = true });
        }
    }
}

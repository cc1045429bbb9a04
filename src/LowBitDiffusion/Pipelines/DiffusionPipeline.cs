using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Pipelines;

/// <summary>
/// Draws images with a model folder in diffusers' layout, float or quantized. Calls may overlap; each has activations of its own and all share the weights, also with the
/// pipelines of <see cref="Share"/>.
/// </summary>
/// <example>
/// <code>
/// await using var pipeline = await DiffusionPipeline.LoadAsync("models/fashion-unet-w4a8");
/// var images = await pipeline.GenerateAsync(new() { Labels = [3], Steps = 20, Seed = 7 });
/// </code>
/// </example>
public sealed class DiffusionPipeline : IAsyncDisposable, IDisposable
{
    private readonly DiffusionModel _model;
    private bool _disposed;

    private DiffusionPipeline(DiffusionModel model) => _model = model;

    /// <summary>What the model folder says of the model.</summary>
    public ModelDescription Description => _model.Description;

    /// <summary>Bytes of weights as they lie in memory.</summary>
    public long WeightBytes => _model.WeightBytes;

    /// <summary>Loads a model folder.</summary>
    /// <param name="folder">A folder with <c>model_index.json</c>.</param>
    /// <param name="options">How to run; null for the defaults.</param>
    /// <param name="progress">Share of the weights that is packed, 0 to 1.</param>
    /// <param name="cancellationToken">Stops the loading between layers.</param>
    /// <exception cref="ModelFormatException">A file is missing, damaged or not supported.</exception>
    /// <exception cref="MemoryBudgetException">The model does not fit <see cref="PipelineOptions.MemoryBudget"/>; no weight was read.</exception>
    public static Task<DiffusionPipeline> LoadAsync(
        string folder, PipelineOptions? options = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default) =>
        Task.Run(() => new DiffusionPipeline(DiffusionModel.Load(folder, options ?? new(), progress, cancellationToken)), cancellationToken);

    /// <summary>Bytes that a pipeline for this folder takes, without reading its weights.</summary>
    /// <exception cref="ModelFormatException">A file is missing, damaged or not supported.</exception>
    public static MemoryEstimate EstimateMemory(string folder, PipelineOptions? options = null)
    {
        using DiffusionModel model = DiffusionModel.Open(folder, options ?? new());
        return model.Estimate();
    }

    /// <summary>Another pipeline over the same weights. They are freed with the last pipeline that uses them.</summary>
    public DiffusionPipeline Share()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new DiffusionPipeline(_model.AddReference());
    }

    /// <summary>Draws images.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="progress">Called after every step.</param>
    /// <param name="cancellationToken">Takes effect within one layer.</param>
    /// <returns>One image per label or count, in order.</returns>
    /// <exception cref="InvalidRequestException">The request does not fit the model; the message says what does.</exception>
    public async Task<IReadOnlyList<GeneratedImage>> GenerateAsync(
        GenerationRequest request, IProgress<GenerationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        GenerationPlan plan = GenerationPlan.Create(request, _model);
        List<GeneratedImage> images = [];
        await Task.Run(
            () =>
            {
                foreach (GenerationUpdate update in Run(plan, previews: false, cancellationToken))
                {
                    progress?.Report(update.Progress);
                    images.AddRange(update.Finished);
                }
            },
            cancellationToken).ConfigureAwait(false);
        return images;
    }

    /// <summary>Draws images and shows every step. Leaving the loop stops the work.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="previews">Whether updates carry what the images would be if the sampler stopped there.</param>
    /// <param name="cancellationToken">Takes effect within one layer.</param>
    /// <exception cref="InvalidRequestException">The request does not fit the model.</exception>
    public async IAsyncEnumerable<GenerationUpdate> StreamAsync(
        GenerationRequest request, bool previews = false, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        GenerationPlan plan = GenerationPlan.Create(request, _model);
        Channel<GenerationUpdate> channel = Channel.CreateBounded<GenerationUpdate>(1);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task work = Task.Run(
            async () =>
            {
                try
                {
                    foreach (GenerationUpdate update in Run(plan, previews, stop.Token)) await channel.Writer.WriteAsync(update, stop.Token).ConfigureAwait(false);
                    channel.Writer.Complete();
                }
                catch (Exception exception)
                {
                    channel.Writer.Complete(exception);
                }
            },
            CancellationToken.None);
        try
        {
            await foreach (GenerationUpdate update in channel.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false)) yield return update;
        }
        finally
        {
            await stop.CancelAsync().ConfigureAwait(false);
            await work.ConfigureAwait(false);
        }
    }

    /// <summary>Lets the model go; weights are freed with the last pipeline that shares them.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _model.Dispose();
    }

    /// <inheritdoc cref="Dispose"/>
    public ValueTask DisposeAsync()
    {
        Dispose();
        return ValueTask.CompletedTask;
    }

    private IEnumerable<GenerationUpdate> Run(GenerationPlan plan, bool previews, CancellationToken cancellationToken)
    {
        using IDisposable hold = _model.AddReference();
        long start = Stopwatch.GetTimestamp();
        for (int first = 0; first < plan.Images; first += plan.Batch)
        {
            int count = Math.Min(plan.Batch, plan.Images - first);
            foreach (GenerationUpdate update in RunBatch(plan, first, count, previews, start, cancellationToken)) yield return update;
        }
    }

    private IEnumerable<GenerationUpdate> RunBatch(GenerationPlan plan, int first, int count, bool previews, long start, CancellationToken cancellationToken)
    {
        using DiffusionModel.Lease lease = _model.Rent(plan.Guided ? 2 * count : count, cancellationToken);
        int imageLength = _model.ImageLength;
        float[] sample = new float[count * imageLength], scaled = new float[sample.Length], prediction = new float[sample.Length];
        INoiseGenerator noise = NoiseGenerators.CreateBatch(plan.NoiseSource, plan.Seeds.AsSpan(first, count));
        IScheduler scheduler = SchedulerFactory.Create(_model.Scheduler, new SamplingRun(plan.Steps, count, sample.Length) { Eta = plan.Eta });
        Denoiser denoiser = new(lease.Network, plan.Guided ? plan.Guidance : null, sample.Length);
        noise.FillNormal(sample);
        for (int i = 0; i < sample.Length; i++) sample[i] *= scheduler.InitialNoiseSigma;
        denoiser.Prepare(scheduler.Timesteps, plan.Conditions(first, count), cancellationToken);
        for (int call = 0; call < scheduler.Timesteps.Count; call++)
        {
            scheduler.ScaleModelInput(call, sample, scaled);
            denoiser.Predict(call, scaled, prediction, cancellationToken);
            IReadOnlyList<Image> preview = previews ? Preview(scheduler, call, prediction, sample, count) : [];
            scheduler.Step(call, prediction, sample, noise);
            bool last = call == scheduler.Timesteps.Count - 1;
            double done = first + (call + 1.0) / scheduler.Timesteps.Count * count;
            GenerationProgress progress = new(
                last ? first + count : first, plan.Images, call + 1, scheduler.Timesteps.Count, done / plan.Images, Stopwatch.GetElapsedTime(start));
            yield return new GenerationUpdate(progress, scheduler.Timesteps[call], preview, last ? Finish(plan, first, count, sample) : []);
        }
    }

    private IReadOnlyList<Image> Preview(IScheduler scheduler, int call, float[] prediction, float[] sample, int count)
    {
        float[] original = new float[sample.Length];
        scheduler.PredictOriginal(call, prediction, sample, original);
        return [.. Enumerable.Range(0, count).Select(i => ToImage(original.AsSpan(i * _model.ImageLength, _model.ImageLength)))];
    }

    private IReadOnlyList<GeneratedImage> Finish(GenerationPlan plan, int first, int count, float[] sample) =>
        [.. Enumerable.Range(0, count).Select(i =>
        {
            float[] one = sample.AsSpan(i * _model.ImageLength, _model.ImageLength).ToArray();
            return new GeneratedImage(ToImage(one), one, plan.Labels.Count > 0 ? plan.Labels[first + i] : null, plan.Seeds[first + i]);
        })];

    private Image ToImage(ReadOnlySpan<float> sample) =>
        Image.FromSample(sample, _model.Description.Channels, _model.Description.Height, _model.Description.Width);
}

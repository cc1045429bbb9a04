using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace LowBitDiffusion.Pipelines;

/// <summary>Where a pipeline's networks run.</summary>
/// <param name="Device">The device's name, <c>cpu</c> for the processor.</param>
/// <param name="Reason">Why there.</param>
public sealed record PipelinePlacement(string Device, string Reason);

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

    /// <summary>diffusers' classes of pipelines that can be drawn with.</summary>
    public static IReadOnlyList<string> SupportedClasses => PipelineClass.Supported;

    /// <summary>What the model folder says of the model.</summary>
    public ModelDescription Description => _model.Description;

    /// <summary>Bytes of weights as they lie in memory.</summary>
    public long WeightBytes => _model.WeightBytes;

    /// <summary>Where the networks run, and why there.</summary>
    public PipelinePlacement Placement => _model.Placement;

    /// <summary>Loads a model folder.</summary>
    /// <param name="folder">A folder with <c>model_index.json</c>.</param>
    /// <param name="options">How to run; null for the defaults.</param>
    /// <param name="progress">Share of the weights that is packed, 0 to 1.</param>
    /// <param name="cancellationToken">Stops the loading between layers.</param>
    /// <exception cref="ModelFormatException">A file is missing, damaged or not supported.</exception>
    /// <exception cref="MemoryBudgetException">The model does not fit <see cref="PipelineOptions.MemoryBudget"/>; no weight was read.</exception>
    /// <exception cref="DeviceException">There is no such device, or it cannot be used.</exception>
    public static Task<DiffusionPipeline> LoadAsync(
        string folder, PipelineOptions? options = null, IProgress<double>? progress = null, CancellationToken cancellationToken = default) =>
        Task.Run(() => new DiffusionPipeline(DiffusionModel.Load(folder, options ?? new(), progress, cancellationToken)), cancellationToken);

    /// <summary>Bytes that a pipeline for this folder takes, without reading its weights.</summary>
    /// <exception cref="ModelFormatException">A file is missing, damaged or not supported.</exception>
    public static MemoryEstimate EstimateMemory(string folder, PipelineOptions? options = null)
    {
        using DiffusionModel model = DiffusionModel.Open(folder, options ?? new());
        return model.PlanFullBatch().Estimate;
    }

    /// <summary>Another pipeline over the same weights. They are freed with the last pipeline that uses them.</summary>
    public DiffusionPipeline Share()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new DiffusionPipeline(_model.AddReference());
    }

    /// <summary>Draws images.</summary>
    /// <param name="request">What to draw.</param>
    /// <param name="progress">Told of encoding and decoding while they last and of every step of the sampler.</param>
    /// <param name="cancellationToken">Takes effect within one layer.</param>
    /// <returns>One image per label or count, in order.</returns>
    /// <exception cref="InvalidRequestException">The request does not fit the model; the message says what does.</exception>
    public Task<IReadOnlyList<GeneratedImage>> GenerateAsync(
        GenerationRequest request, IProgress<GenerationProgress>? progress = null, CancellationToken cancellationToken = default) =>
        GenerateAsync(request, observer: null, progress, cancellationToken);

    /// <summary>Draws images and shows the samples after every call.</summary>
    internal async Task<IReadOnlyList<GeneratedImage>> GenerateAsync(
        GenerationRequest request, SampleObserver? observer, IProgress<GenerationProgress>? progress, CancellationToken cancellationToken)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        GenerationPlan plan = await Task.Run(() => GenerationPlan.Create(request, _model), cancellationToken).ConfigureAwait(false);
        List<GeneratedImage> images = [];
        await Task.Run(
            () =>
            {
                foreach (GenerationUpdate update in new GenerationRun(_model, plan, previews: false, cancellationToken) { Observer = observer, Progress = progress }.Updates()) images.AddRange(update.Finished);
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
                    foreach (GenerationUpdate update in new GenerationRun(_model, plan, previews, stop.Token).Updates()) await channel.Writer.WriteAsync(update, stop.Token).ConfigureAwait(false);
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
}

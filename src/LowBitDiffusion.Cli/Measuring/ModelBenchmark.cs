using System.Diagnostics;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Cli.Measuring;

/// <summary>What to measure.</summary>
/// <param name="Steps">Steps of the sampler; null for each model's default.</param>
/// <param name="Batch">Images drawn at once.</param>
/// <param name="Threads">Threads; null for one per processor.</param>
/// <param name="Rounds">How often every model draws a batch.</param>
internal sealed record BenchmarkSettings(int? Steps, int Batch, int? Threads, int Rounds)
{
    /// <summary>How the pipelines run.</summary>
    public PipelineOptions Pipeline => new() { Threads = Threads, MaxBatch = Batch };
}

/// <summary>One model being measured: loaded once, then asked for batches in turn with others, so that what disturbs the machine disturbs all of them.</summary>
internal sealed class ModelBenchmark : IAsyncDisposable
{
    private readonly BenchmarkSettings _settings;
    private readonly DiffusionPipeline _pipeline;
    private readonly TimeSpan _loading;
    private readonly List<TimeSpan> _steps = [], _texts = [], _decodings = [];
    private TimeSpan _firstStep;
    private TimeSpan _firstImage;
    private TimeSpan _total;
    private int _images;

    private ModelBenchmark(string folder, BenchmarkSettings settings, DiffusionPipeline pipeline, TimeSpan loading) =>
        (Folder, _settings, _pipeline, _loading) = (folder, settings, pipeline, loading);

    /// <summary>The model.</summary>
    public string Folder { get; }

    /// <summary>Loads a model and draws one image, the first and slowest.</summary>
    /// <param name="folder">The model.</param>
    /// <param name="settings">What to measure.</param>
    /// <param name="startUp">What the process took before it loaded any model.</param>
    /// <param name="cancellationToken">Checked between operations.</param>
    public static async Task<ModelBenchmark> LoadAsync(string folder, BenchmarkSettings settings, TimeSpan startUp, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp(), loading = start;
        DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(folder, settings.Pipeline, cancellationToken: cancellationToken);
        ModelBenchmark benchmark = new(folder, settings, pipeline, Stopwatch.GetElapsedTime(start));
        try
        {
            start = Stopwatch.GetTimestamp();
            DelegateProgress<GenerationProgress> firstStep = new(progress =>
            {
                if (progress.Stage == GenerationStage.Sampling && benchmark._firstStep == default) benchmark._firstStep = startUp + Stopwatch.GetElapsedTime(loading);
            });
            await pipeline.GenerateAsync(benchmark.Request(1), firstStep, cancellationToken);
            benchmark._firstImage = Stopwatch.GetElapsedTime(start);

            // The network of the measured batch is compiled before the clock runs.
            if (settings.Batch > 1) await pipeline.GenerateAsync(benchmark.Request(settings.Batch) with { Steps = 1 }, cancellationToken: cancellationToken);
            return benchmark;
        }
        catch
        {
            await benchmark.DisposeAsync();
            throw;
        }
    }

    /// <summary>Draws one batch.</summary>
    public async Task RunRoundAsync(CancellationToken cancellationToken)
    {
        TimeSpan last = TimeSpan.Zero;
        bool first = true;
        long start = Stopwatch.GetTimestamp();
        IReadOnlyList<GeneratedImage> images = await _pipeline.GenerateAsync(
            Request(_settings.Batch),
            new DelegateProgress<GenerationProgress>(progress =>
            {
                if (progress.UnderWay) return;
                TimeSpan taken = progress.Elapsed - last;
                last = progress.Elapsed;
                switch (progress.Stage)
                {
                    case GenerationStage.Encoding: _texts.Add(taken); break;
                    case GenerationStage.Decoding: _decodings.Add(taken); break;
                    // The first step's time includes what is prepared before the loop; it counts among the images, not among the steps.
                    case GenerationStage.Sampling when first: first = false; break;
                    default: _steps.Add(taken); break;
                }
            }),
            cancellationToken);
        _total += Stopwatch.GetElapsedTime(start);
        _images += images.Count;
    }

    /// <summary>What was measured so far.</summary>
    public BenchmarkResult Result()
    {
        TimeSpan[] sorted = [.. _steps.Order()];
        return new BenchmarkResult
        {
            Model = Folder,
            Method = _pipeline.Description.QuantizationMethod ?? "float",
            Steps = Request(1).Steps!.Value,
            Batch = _settings.Batch,
            LoadSeconds = _loading.TotalSeconds,
            StartToFirstStepSeconds = _firstStep.TotalSeconds,
            FirstImageSeconds = _firstImage.TotalSeconds,
            TextSeconds = Median(_texts),
            DecodeSeconds = Median(_decodings),
            StepP50Seconds = Percentile.Of(sorted, 0.5).TotalSeconds,
            StepP95Seconds = Percentile.Of(sorted, 0.95).TotalSeconds,
            ImagesPerSecond = _images / _total.TotalSeconds,
            WeightBytes = _pipeline.WeightBytes,
        };
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _pipeline.DisposeAsync();

    private static double? Median(List<TimeSpan> times) => times.Count == 0 ? null : Percentile.Of([.. times.Order()], 0.5).TotalSeconds;

    private GenerationRequest Request(int images)
    {
        ModelDescription model = _pipeline.Description;
        return new GenerationRequest
        {
            Prompts = model.HasTextEncoder ? [""] : [],
            Labels = model.LabelCount == 0 ? [] : [.. Enumerable.Range(0, images).Select(i => i % model.LabelCount)],
            Count = images,
            Steps = _settings.Steps ?? model.DefaultSteps,
        };
    }
}

/// <summary>What was measured of one model.</summary>
internal sealed record BenchmarkResult
{
    /// <summary>The model's folder.</summary>
    public required string Model { get; init; }

    /// <summary>How it was quantized.</summary>
    public required string Method { get; init; }

    /// <summary>Steps of the sampler.</summary>
    public required int Steps { get; init; }

    /// <summary>Images at once.</summary>
    public required int Batch { get; init; }

    /// <summary>From nothing to ready.</summary>
    public required double LoadSeconds { get; init; }

    /// <summary>The start of the process, loading, text and the first step: the wait before the first sign of a picture.</summary>
    public required double StartToFirstStepSeconds { get; init; }

    /// <summary>The first image after loading, alone.</summary>
    public required double FirstImageSeconds { get; init; }

    /// <summary>Median encoding of a request's texts; null without an encoder.</summary>
    public required double? TextSeconds { get; init; }

    /// <summary>Median decoding of an image; null without a decoder.</summary>
    public required double? DecodeSeconds { get; init; }

    /// <summary>Median step of a batch.</summary>
    public required double StepP50Seconds { get; init; }

    /// <summary>Step of a batch that 95 in 100 do not exceed.</summary>
    public required double StepP95Seconds { get; init; }

    /// <summary>Images per second in batches.</summary>
    public required double ImagesPerSecond { get; init; }

    /// <summary>Packed weights in memory.</summary>
    public required long WeightBytes { get; init; }
}

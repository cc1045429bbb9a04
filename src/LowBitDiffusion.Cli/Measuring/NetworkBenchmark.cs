using System.Diagnostics;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.RandomWeights;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Cli.Measuring;

/// <summary>What to measure of a published network with random weights.</summary>
/// <param name="Architecture">Its name; or a model folder, whose denoiser is measured as its files have it.</param>
/// <param name="Precision">Bits of weights and activations, or <c>f32</c>; of a published network.</param>
/// <param name="Attention">How attentions are computed; of a published network.</param>
/// <param name="Size">Rows and columns of the picture in pixels; null for the network's own.</param>
/// <param name="Tile">For decoders: rows and columns in pixels of the tiles that the picture is decoded in; null for the picture as a whole.</param>
/// <param name="Batch">Images at once.</param>
/// <param name="Steps">Forward passes to measure; null for as many as <see cref="NetworkBenchmark.Patience"/> allows.</param>
/// <param name="Threads">Threads; null for one per processor.</param>
internal sealed record NetworkBenchmarkSettings(string Architecture, string Precision, AttentionPrecision Attention, int? Size, int? Tile, int Batch, int? Steps, int? Threads);

/// <summary>What was measured of a network.</summary>
internal sealed record NetworkBenchmarkResult
{
    /// <summary>Its name.</summary>
    public required string Architecture { get; init; }

    /// <summary>Bits.</summary>
    public required string Precision { get; init; }

    /// <summary>Shapes of its inputs.</summary>
    public required string Inputs { get; init; }

    /// <summary>Parameters of the network.</summary>
    public required long Parameters { get; init; }

    /// <summary>Multiply-accumulates of one forward pass.</summary>
    public required long Macs { get; init; }

    /// <summary>Making and packing the weights, planning.</summary>
    public required double LoadSeconds { get; init; }

    /// <summary>What is computed before the loop, and the first forward pass.</summary>
    public required double FirstStepSeconds { get; init; }

    /// <summary>From the start of the process to the end of the first forward pass.</summary>
    public required double StartToFirstStepSeconds { get; init; }

    /// <summary>Forward passes that were measured.</summary>
    public required int Steps { get; init; }

    /// <summary>Fastest forward pass.</summary>
    public required double StepMinimumSeconds { get; init; }

    /// <summary>Median forward pass.</summary>
    public required double StepP50Seconds { get; init; }

    /// <summary>Forward pass that 95 in 100 do not exceed.</summary>
    public required double StepP95Seconds { get; init; }

    /// <summary>The fastest call of each operation, added up: a pass that nothing disturbs.</summary>
    public double BestSeconds => Operations.Sum(o => o.BestSecondsPerStep);

    /// <summary>
    /// Integer operations per second that the registers allow with as many threads, the best of measurements before every pass; 0 where there is no such instruction.
    /// </summary>
    public required double PeakOperationsPerSecond { get; init; }

    /// <summary>Packed weights.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>Activations.</summary>
    public required long ActivationBytes { get; init; }

    /// <summary>What the process was foretold to take, runtime and all, before any weight was made.</summary>
    public required long EstimatedBytes { get; init; }

    /// <summary>Most bytes of the process that were resident at once.</summary>
    public required long PeakResidentBytes { get; init; }

    /// <summary>What was foretold, of what was taken.</summary>
    public double EstimateRatio => (double)EstimatedBytes / PeakResidentBytes;

    /// <summary>Time by kind of operation.</summary>
    public required IReadOnlyList<OperationTime> Operations { get; init; }

    /// <summary>Share of a pass that no operation accounts for.</summary>
    public required double OutsideOperations { get; init; }

    /// <summary>Share of the peak over all operations of the median pass.</summary>
    public double PeakShare => PeakShareOf(StepP50Seconds);

    /// <summary>The same of the fastest pass.</summary>
    public double FastestPeakShare => PeakShareOf(StepMinimumSeconds);

    /// <summary>The same of <see cref="BestSeconds"/>.</summary>
    public double BestPeakShare => PeakShareOf(BestSeconds);

    private double PeakShareOf(double seconds) => PeakOperationsPerSecond > 0 ? 2 * Macs / seconds / PeakOperationsPerSecond : 0;
}

/// <summary>Measures one network, published ones at their real sizes without their weights: <c>lbd bench --architecture</c>.</summary>
internal static class NetworkBenchmark
{
    private const float Timestep = 500;
    private const int FewestSteps = 5, MostSteps = 100, RunsOfPeak = 20;

    /// <summary>How long passes are measured where their number is not given, beyond the first few.</summary>
    public static TimeSpan Patience { get; } = TimeSpan.FromSeconds(4);

    /// <summary>Builds, runs and measures a network.</summary>
    /// <exception cref="InvalidRequestException">The name, the precision or the size is not supported.</exception>
    public static NetworkBenchmarkResult Measure(NetworkBenchmarkSettings settings, IProgress<double> progress, CancellationToken cancellationToken)
    {
        using NetworkFolder? folder = Open(settings);
        (INetwork network, ModelWeights weights, IReadOnlyDictionary<string, TensorShape> inputs, int tiles) = Create(settings, folder);
        using WorkerPool pool = new(settings.Threads ?? Environment.ProcessorCount);
        using PreparedModel model = new(network, weights);
        PlanMemory estimate = model.Estimate(inputs, pool.Threads);
        long estimated = estimate.Weights + estimate.Activations(1) + ProcessMemory.RuntimeBytes();

        long start = Stopwatch.GetTimestamp();
        using PlannedNetwork planned = model.Compile(inputs, pool, progress: progress, cancellationToken: cancellationToken);
        TimeSpan load = Stopwatch.GetElapsedTime(start);

        Dictionary<string, float[]> values = inputs.ToDictionary(i => i.Key, i => Values(i.Key, i.Value));
        start = Stopwatch.GetTimestamp();
        Action<int> one = Forward(planned, values, [Timestep], cancellationToken);
        Action forward = () =>
        {
            for (int tile = 0; tile < tiles; tile++) one(0);
        };
        forward();
        TimeSpan first = Stopwatch.GetElapsedTime(start), sinceStart = ProcessClock.SinceStart();
        // Clocks and neighbours change within seconds: the peak is measured before every pass, and every operation of every pass.
        using PeakThroughput? throughput = PeakThroughput.TryCreate();
        double peak = 0;
        List<TimeSpan> times = [];
        TimeSpan total = TimeSpan.Zero;
        planned.Profile = true;
        while (times.Count < (settings.Steps ?? FewestSteps) || (settings.Steps is null && times.Count < MostSteps && total < Patience))
        {
            peak = Math.Max(peak, throughput?.GigaOperationsPerSecond(pool, RunsOfPeak) * 1e9 ?? 0);
            start = Stopwatch.GetTimestamp();
            forward();
            times.Add(Stopwatch.GetElapsedTime(start));
            total += times[^1];
        }

        times.Sort();
        IReadOnlyList<StepTiming> timings = planned.TakeTimings();
        return new NetworkBenchmarkResult
        {
            Architecture = settings.Architecture,
            Precision = folder is null ? settings.Precision : "as stored",
            Inputs = string.Join(", ", inputs.Select(i => $"{i.Key} {i.Value}")) + (tiles > 1 ? $", {tiles} tiles" : ""),
            Parameters = network.Build(inputs).Parameters.Sum(p => p.Shape.Elements),
            Macs = timings.Sum(t => t.Macs * t.Calls) / times.Count,
            Steps = times.Count,
            LoadSeconds = load.TotalSeconds,
            FirstStepSeconds = first.TotalSeconds,
            StartToFirstStepSeconds = sinceStart.TotalSeconds,
            StepMinimumSeconds = times[0].TotalSeconds,
            StepP50Seconds = Percentile.Of(times, 0.5).TotalSeconds,
            StepP95Seconds = Percentile.Of(times, 0.95).TotalSeconds,
            PeakOperationsPerSecond = peak,
            WeightBytes = model.WeightBytes,
            ActivationBytes = planned.ActivationBytes,
            EstimatedBytes = estimated,
            PeakResidentBytes = ProcessMemory.PeakResidentBytes(),
            Operations = OperationProfile.Summarize(timings, times.Count),
            OutsideOperations = OperationProfile.Outside(timings, total),
        };
    }

    /// <summary>The folder that is to be measured; null for a published network.</summary>
    public static NetworkFolder? Open(NetworkBenchmarkSettings settings) => Directory.Exists(settings.Architecture) ? NetworkFolder.Open(settings.Architecture) : null;

    /// <summary>A folder's network, or a published one with random weights; the shapes of its inputs, and how many passes make a picture.</summary>
    /// <exception cref="InvalidRequestException">The name, the precision or the size is not supported.</exception>
    public static (INetwork Network, ModelWeights Weights, IReadOnlyDictionary<string, TensorShape> Inputs, int Tiles) Create(NetworkBenchmarkSettings settings, NetworkFolder? folder)
    {
        if (folder is not null) return (folder.Network, folder.Weights, folder.Network.NativeInputs(settings.Batch), 1);
        INetwork network = Architectures.Create(settings.Architecture);
        (IReadOnlyDictionary<string, TensorShape> inputs, int tiles) = Inputs(network, settings);
        ModelWeights weights = RandomModel.Weights(network, network.NativeInputs(1), settings.Precision, seed: 0);
        return (network, weights.With(weights.QuantizedModules, settings.Attention), inputs, tiles);
    }

    // With tiles: the shapes of one, and how many make a picture.
    private static (IReadOnlyDictionary<string, TensorShape> Inputs, int Tiles) Inputs(INetwork network, NetworkBenchmarkSettings settings)
    {
        Dictionary<string, TensorShape> inputs = new(network.NativeInputs(settings.Batch));
        int factor = Architectures.PixelsPerPosition(settings.Architecture);
        string image = inputs.ContainsKey("sample") ? "sample" : "latent";
        if (settings.Size is { } size) inputs[image] = inputs[image].With(2, Positions("size", size)).With(3, Positions("size", size));
        if (settings.Tile is not { } pixels) return (inputs, 1);
        if (image != "latent") throw new InvalidRequestException("tile", $"{settings.Architecture} does not decode a picture, found {pixels}");
        DecodeTiling tiling = DecodeTiling.OfSize(Positions("tile", pixels));
        int rows = inputs[image][2], columns = inputs[image][3];
        inputs[image] = inputs[image].With(2, Math.Min(tiling.Size, rows)).With(3, Math.Min(tiling.Size, columns));
        return (inputs, tiling.Count(rows) * tiling.Count(columns));

        int Positions(string option, int value) => factor > 0 && value >= factor && value % factor == 0
            ? value / factor
            : throw new InvalidRequestException(option, factor == 0 ? $"{settings.Architecture} has no picture, found {value}" : $"expected a multiple of {factor}, found {value}");
    }

    /// <summary>A pass of a network at one of some timesteps; what does not depend on the sample is computed now. A network outside a loop has none.</summary>
    public static Action<int> Forward(PlannedNetwork network, Dictionary<string, float[]> values, float[] timesteps, CancellationToken cancellationToken)
    {
        if (!values.ContainsKey("sample") || !values.ContainsKey("timestep")) return _ => network.Run(values, progress: null, cancellationToken);
        network.Prepare(timesteps, values.Where(v => v.Key is not ("sample" or "timestep")).ToDictionary(), cancellationToken);
        float[] prediction = new float[network.PredictionLength];
        return step => network.Predict(step, values["sample"], prediction, cancellationToken);
    }

    /// <summary>Numbers for an input: indices (labels, tokens) are 0, everything else is noise of unit variance.</summary>
    public static float[] Values(string name, TensorShape shape)
    {
        float[] values = new float[shape.Elements];
        if (name is "class_labels" or "input_ids") return values;
        System.Random random = new(0);
        for (int i = 0; i < values.Length; i++) values[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        return values;
    }
}

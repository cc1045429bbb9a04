using System.Diagnostics;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.RandomWeights;

namespace LowBitDiffusion.Cli.Measuring;

/// <summary>What was measured of a published network with random weights.</summary>
internal sealed record ArchitectureResult
{
    public required string Architecture { get; init; }
    public required string Weights { get; init; }
    public required long Parameters { get; init; }
    public required double LoadSeconds { get; init; }
    public required double PrepareSeconds { get; init; }
    public required double StepP50Seconds { get; init; }
    public required double StepP95Seconds { get; init; }
    public required long EstimatedBytes { get; init; }
    public required long WeightBytes { get; init; }
    public required long ActivationBytes { get; init; }
    public required long PeakResidentBytes { get; init; }
    public required IReadOnlyList<OperationTime> Operations { get; init; }
}

/// <summary>Measures a network at its native size without its weights: random ones of the same shapes take the same time.</summary>
internal static class ArchitectureBenchmark
{
    private const int Seed = 1;

    /// <summary>Makes the weights and runs the network; outside a loop, of a decoder or a text encoder, a step is the whole network.</summary>
    /// <param name="architecture">One of <see cref="Architectures.Names"/>.</param>
    /// <param name="weights">Precision, as <see cref="RandomModel"/> has it.</param>
    /// <param name="images">Images drawn at once.</param>
    /// <param name="threads">Threads; null for one per processor.</param>
    /// <param name="steps">Steps to measure, after one that is not.</param>
    /// <param name="progress">Told the share of the work done.</param>
    /// <param name="cancellationToken">Checked between operations.</param>
    public static ArchitectureResult Measure(
        string architecture, string weights, int images, int? threads, int steps, IProgress<double> progress, CancellationToken cancellationToken)
    {
        INetwork network = Architectures.Create(architecture);
        IReadOnlyDictionary<string, TensorShape> inputs = network.NativeInputs(images);
        using WorkerPool pool = new(threads ?? Environment.ProcessorCount);
        long start = Stopwatch.GetTimestamp();
        using PreparedModel model = new(network, RandomModel.Weights(network, inputs, weights, Seed));
        (long weightBytes, long activationBytes) = model.Estimate(inputs, steps + 1, pool.Threads);
        using PlannedNetwork plan = model.Compile(inputs, pool, cancellationToken: cancellationToken);
        TimeSpan load = Stopwatch.GetElapsedTime(start);

        Dictionary<string, float[]> values = inputs.ToDictionary(input => input.Key, input => new float[input.Value.Elements]);
        bool loop = values.ContainsKey("sample");
        start = Stopwatch.GetTimestamp();
        if (loop)
        {
            float[] timesteps = [.. Enumerable.Range(0, steps + 1).Select(i => 999f - 999f * i / (steps + 1))];
            plan.Prepare(timesteps, values.Where(input => input.Key is not ("sample" or "timestep")).ToDictionary(), cancellationToken);
        }

        TimeSpan prepare = Stopwatch.GetElapsedTime(start);
        float[] prediction = new float[loop ? plan.PredictionLength : 0];
        List<TimeSpan> times = [];
        for (int step = 0; step <= steps; step++)
        {
            start = Stopwatch.GetTimestamp();
            if (loop) plan.Predict(step, values["sample"], prediction, cancellationToken);
            else plan.Run(values, cancellationToken);
            if (step > 0) times.Add(Stopwatch.GetElapsedTime(start));
            plan.Profile = true;
            progress.Report((step + 1.0) / (steps + 1));
        }

        times.Sort();
        return new ArchitectureResult
        {
            Architecture = architecture,
            Weights = weights,
            Parameters = network.Build(inputs).Parameters.Sum(parameter => parameter.Shape.Elements),
            LoadSeconds = load.TotalSeconds,
            PrepareSeconds = prepare.TotalSeconds,
            StepP50Seconds = Percentile.Of(times, 0.5).TotalSeconds,
            StepP95Seconds = Percentile.Of(times, 0.95).TotalSeconds,
            EstimatedBytes = weightBytes + activationBytes,
            WeightBytes = model.WeightBytes,
            ActivationBytes = plan.ActivationBytes,
            PeakResidentBytes = ResidentMemory.PeakBytes(),
            Operations = OperationProfile.Summarize(plan.TakeTimings(), steps),
        };
    }
}

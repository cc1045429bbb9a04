using System.Diagnostics;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Cli.Measuring;

/// <summary>Time that one kind of work takes in a step.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Operations">How many of them a step has.</param>
/// <param name="SecondsPerStep">Time of all of them in one step.</param>
/// <param name="Share">Share of the step.</param>
/// <param name="MacsPerSecond">Multiply-accumulates per second; 0 for work without any.</param>
/// <param name="BestSecondsPerStep">The same of each operation's fastest call: on a shared machine, what is left when everything that disturbed single calls is taken out.</param>
/// <param name="BestMacsPerSecond">Multiply-accumulates per second at that pace.</param>
internal sealed record OperationTime(string Kind, int Operations, double SecondsPerStep, double Share, double MacsPerSecond, double BestSecondsPerStep, double BestMacsPerSecond);

/// <summary>Where the time of a model's steps goes.</summary>
/// <param name="Operations">Time by kind of operation.</param>
/// <param name="OutsideOperations">Share of a step that no operation accounts for.</param>
internal sealed record StepProfile(IReadOnlyList<OperationTime> Operations, double OutsideOperations);

/// <summary>Runs a network step by step with a clock around every operation.</summary>
internal static class OperationProfile
{
    private const int WarmUpSteps = 2;

    /// <summary>Measures the steps of the loop; what is computed before it is left out.</summary>
    /// <param name="path">Model folder.</param>
    /// <param name="images">Images drawn at once.</param>
    /// <param name="threads">Threads; null for one per processor.</param>
    /// <param name="steps">Steps to measure.</param>
    /// <param name="cancellationToken">Checked between operations.</param>
    public static StepProfile Measure(string path, int images, int? threads, int steps, CancellationToken cancellationToken)
    {
        using NetworkFolder folder = NetworkFolder.Open(path);
        using WorkerPool pool = new(threads ?? Environment.ProcessorCount);
        using PreparedModel model = new(folder.Network, folder.Weights);
        // With guidance the network sees every image twice.
        IReadOnlyDictionary<string, TensorShape> inputs = folder.Network.NativeInputs(folder.Model?.NullLabel is null ? images : 2 * images);
        using PlannedNetwork network = model.Compile(inputs, pool, cancellationToken: cancellationToken);
        Dictionary<string, float[]> conditions = inputs.Where(input => input.Key is not ("sample" or "timestep")).ToDictionary(input => input.Key, input => new float[input.Value.Elements]);
        float[] timesteps = [.. Enumerable.Range(0, WarmUpSteps + steps).Select(i => 999f - 999f * i / (WarmUpSteps + steps))];
        network.Prepare(timesteps, conditions, cancellationToken);
        float[] sample = new float[network.SampleLength], prediction = new float[network.PredictionLength];
        // The clocks warm up too: what notes the times is compiled when it is first used.
        network.Profile = true;
        for (int step = 0; step < WarmUpSteps; step++) network.Predict(step, sample, prediction, cancellationToken);
        _ = network.TakeTimings();
        long start = Stopwatch.GetTimestamp();
        for (int step = WarmUpSteps; step < timesteps.Length; step++) network.Predict(step, sample, prediction, cancellationToken);
        TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
        IReadOnlyList<StepTiming> timings = network.TakeTimings();
        return new StepProfile(Summarize(timings, steps), Outside(timings, elapsed));
    }

    /// <summary>Share of the elapsed time that no operation accounts for.</summary>
    public static double Outside(IReadOnlyList<StepTiming> timings, TimeSpan elapsed) => 1 - (timings.Sum(t => t.Total.TotalSeconds) / elapsed.TotalSeconds);

    /// <summary>Adds up the timings of each kind of work.</summary>
    public static IReadOnlyList<OperationTime> Summarize(IReadOnlyList<StepTiming> timings, int steps)
    {
        double total = timings.Sum(t => t.Total.TotalSeconds);
        return
        [
            .. timings.GroupBy(t => t.Kind).Select(kind =>
            {
                double seconds = kind.Sum(t => t.Total.TotalSeconds), best = kind.Sum(t => t.Fastest.TotalSeconds * t.Calls), macs = kind.Sum(t => (double)t.Macs * t.Calls);
                return new OperationTime(kind.Key, kind.Count(), seconds / steps, seconds / total, PerSecond(macs, seconds), best / steps, PerSecond(macs, best));
            }).OrderByDescending(t => t.SecondsPerStep),
        ];

        static double PerSecond(double macs, double seconds) => seconds > 0 ? macs / seconds : 0;
    }
}

using System.Diagnostics;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Cli.Measuring;

/// <summary>One step of a network on a device and on the processor, measured in turn.</summary>
/// <param name="Device">The device.</param>
/// <param name="LoadSeconds">Packing and bringing the weights there, planning.</param>
/// <param name="HostSeconds">Median step on the processor.</param>
/// <param name="DeviceSeconds">Median step on the device.</param>
/// <param name="WeightBytes">Weights on the device.</param>
/// <param name="PerStep">Launches, bytes moved and waits of one step.</param>
/// <param name="Kernels">Times of kernels in one step.</param>
/// <param name="HostOperations">The processor's step by kind of work.</param>
/// <param name="DeviceOperations">The device's step by kind of work, with a wait after each.</param>
/// <param name="PeakOperationsPerSecond">What the device's products reach on registers.</param>
/// <param name="PeakShare">Share of it that the integer layers reach.</param>
internal sealed record DeviceBenchmarkResult(
    string Device, double LoadSeconds, double HostSeconds, double DeviceSeconds, long WeightBytes, QueueStatistics PerStep, IReadOnlyList<KernelTime> Kernels, IReadOnlyList<OperationTime> HostOperations,
    IReadOnlyList<OperationTime> DeviceOperations, double PeakOperationsPerSecond, double PeakShare);

/// <summary>Compares a device with the processor on the same model: <c>lbd bench --device</c>.</summary>
internal static class DeviceBenchmark
{
    private const int WarmUpSteps = 2;

    /// <summary>Measures a model's denoiser.</summary>
    /// <exception cref="DeviceException">The device cannot be used.</exception>
    public static DeviceBenchmarkResult Measure(string path, ComputeDevice device, DeviceFloat values, int images, int? threads, int steps, IProgress<double> progress, CancellationToken cancellationToken)
    {
        using NetworkFolder folder = NetworkFolder.Open(path);
        return Measure(folder.Network, folder.Weights, folder.Network.NativeInputs(folder.Model?.NullLabel is null ? images : 2 * images), device, values, threads, steps, progress, cancellationToken);
    }

    /// <summary>Measures steps of the loop in turn, or passes of a network outside a loop.</summary>
    /// <exception cref="DeviceException">The device cannot be used.</exception>
    public static DeviceBenchmarkResult Measure(
        INetwork network, ModelWeights weights, IReadOnlyDictionary<string, TensorShape> inputs, ComputeDevice device, DeviceFloat values, int? threads, int steps, IProgress<double> progress,
        CancellationToken cancellationToken)
    {
        using WorkerPool pool = new(threads ?? Environment.ProcessorCount);
        double peak = device.MeasurePeak();
        using PreparedModel onHost = new(network, weights), onDevice = new(network, weights, device: device, values: values);
        using PlannedNetwork host = onHost.Compile(inputs, pool, cancellationToken: cancellationToken);
        long start = Stopwatch.GetTimestamp();
        using PlannedNetwork there = onDevice.Compile(inputs, pool, progress: progress, cancellationToken: cancellationToken);
        double load = Stopwatch.GetElapsedTime(start).TotalSeconds;
        device.ProfilesKernels = true;
        using PlannedNetwork profiled = onDevice.Compile(inputs, pool, cancellationToken: cancellationToken);
        device.ProfilesKernels = false;

        float[] timesteps = [.. Enumerable.Range(0, WarmUpSteps + steps).Select(i => 999f - 999f * i / (WarmUpSteps + steps))];
        Dictionary<string, float[]> numbers = inputs.ToDictionary(input => input.Key, input => NetworkBenchmark.Values(input.Key, input.Value));
        Dictionary<PlannedNetwork, Action<int>> passes = [];
        foreach (PlannedNetwork planned in (PlannedNetwork[])[host, there, profiled])
        {
            passes.Add(planned, NetworkBenchmark.Forward(planned, numbers, timesteps, cancellationToken));
            for (int step = 0; step < WarmUpSteps; step++) passes[planned](step);
        }

        QueueStatistics before = there.DeviceStatistics;
        double[] hostTimes = new double[steps], deviceTimes = new double[steps];
        profiled.TakeKernelTimes();
        for (int i = 0; i < steps; i++)
        {
            hostTimes[i] = Time(host, WarmUpSteps + i);
            deviceTimes[i] = Time(there, WarmUpSteps + i);
            passes[profiled](WarmUpSteps + i);
        }

        QueueStatistics all = there.DeviceStatistics.Since(before);
        KernelTime[] kernels = [.. profiled.TakeKernelTimes().Select(k => new KernelTime(k.Kernel, k.Calls / steps, k.Total / steps))];
        (IReadOnlyList<OperationTime> hostOperations, _) = Operations(host);
        (IReadOnlyList<OperationTime> deviceOperations, long integerMacs) = Operations(there);
        Array.Sort(hostTimes);
        Array.Sort(deviceTimes);
        double integerSeconds = kernels.Where(k => k.Kernel is "integer_matrix" or "tensor_matrix").Sum(k => k.Total.TotalSeconds);
        return new DeviceBenchmarkResult(
            device.ToString(), load, hostTimes[steps / 2], deviceTimes[steps / 2], onDevice.WeightBytes, new QueueStatistics(all.Launches / steps, all.BytesUp / steps, all.BytesDown / steps, all.Waits / steps),
            kernels, hostOperations, deviceOperations, peak, integerSeconds > 0 ? 2 * integerMacs / integerSeconds / peak : 0);

        double Time(PlannedNetwork planned, int step)
        {
            long began = Stopwatch.GetTimestamp();
            passes[planned](step);
            return Stopwatch.GetElapsedTime(began).TotalSeconds;
        }

        (IReadOnlyList<OperationTime>, long) Operations(PlannedNetwork planned)
        {
            planned.Profile = true;
            for (int step = WarmUpSteps; step < timesteps.Length; step++) passes[planned](step);
            planned.Profile = false;
            IReadOnlyList<StepTiming> timings = planned.TakeTimings();
            // Layers in integers are called after their bits: "conv w4a8".
            return (OperationProfile.Summarize(timings, steps), timings.Where(t => t.Kind.Contains(" w", StringComparison.Ordinal)).Sum(t => t.Macs));
        }
    }
}

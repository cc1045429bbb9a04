using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Cli.Measuring;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd bench</c>: measures models on this machine.</summary>
internal sealed class BenchCommand : CliCommand
{
    // At most.
    private const int ProfiledSteps = 10;

    private readonly Option<string> _model = CommonOptions.Model();
    private readonly Option<string?> _architecture = new("--architecture")
    {
        Description = $"Instead of a pipeline one network alone: a published one with seeded random weights ({string.Join(", ", Architectures.Names)}), or the denoiser of a model folder.",
        HelpName = "NAME|DIR",
    };
    private readonly Option<string> _weights = new("--weights")
    {
        Description = "With --architecture: bits of weights and activations, or f32.",
        HelpName = "wNaM|f32",
        DefaultValueFactory = _ => "w8a8",
    };
    private readonly Option<string> _attention = CommonOptions.Attention();
    private readonly Option<int?> _size = new("--size") { Description = "With --architecture: rows and columns of the picture in pixels. Default: the network's own.", HelpName = "N" };
    private readonly Option<int?> _tile = new("--tile") { Description = "With --architecture of a decoder: decode in overlapping tiles of so many rows and columns of pixels, which takes less memory.", HelpName = "N" };
    private readonly Option<string[]> _compare = new("--compare") { Description = "More model folders, measured in turn with the first; ratios are to the first.", HelpName = "DIR", AllowMultipleArgumentsPerToken = true };
    private readonly Option<int?> _steps = new("--steps") { Description = "Steps of the sampler. Default: the model's. With --architecture: forward passes. Default: 5 to 100, as many as take some seconds.", HelpName = "N" };
    private readonly Option<int> _batch = new("--batch") { Description = "Images drawn at once.", HelpName = "N", DefaultValueFactory = _ => 1 };
    private readonly Option<int> _rounds = new("--rounds") { Description = "Batches of each model.", HelpName = "N", DefaultValueFactory = _ => 5 };
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<string> _device = CommonOptions.Device();
    private readonly Option<string> _deviceFloat = CommonOptions.DeviceFloat();
    private readonly Option<string> _deviceQueue = CommonOptions.DeviceQueue();
    private readonly Option<bool> _json = CommonOptions.Json();

    public BenchCommand(Terminal terminal) : base("bench", "Measure load time, first image, steps, images per second, memory, and the time of each kind of operation.", terminal)
    {
        foreach (Option option in new Option[] { _model, _architecture, _weights, _attention, _size, _tile, _compare, _steps, _batch, _rounds, _threads, _device, _deviceFloat, _deviceQueue, _json }) Options.Add(option);
        Validators.Add(result =>
        {
            if (result.GetResult(_model) is null == result.GetResult(_architecture) is null) result.AddError("Either option '--model' or option '--architecture' is required.");
            Option[] ofNames = [_weights, _attention, _size, _tile];
            if (result.GetValue(_architecture) is { } place && Directory.Exists(place) && ofNames.FirstOrDefault(option => result.GetResult(option) is { Implicit: false }) is { } other)
                result.AddError($"Option '{other.Name}' goes with the name of a network; '{place}' is a folder, measured as its files have it.");
            if (result.GetResult(_device) is { Implicit: false } && result.GetResult(_tile) is not null) result.AddError("Option '--tile' measures the processor: it does not go with '--device'.");
        });
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd bench --model models/fashion-unet-w4a8",
        "lbd bench --architecture sd15 --size 512 --weights w8a8 --attention int8 --threads 2",
        "lbd bench --model models/fashion-unet-w8a8 --device opencl:0",
        "lbd bench --architecture sd15 --size 256 --weights w8a8 --attention int8 --device opencl:0",
        "lbd bench --model models/fashion-unet --compare models/fashion-unet-w8a8 models/fashion-unet-w4a8 --batch 4 --json",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        bool json = parsed.GetValue(_json);
        if (parsed.GetValue(_device) is { } device && device != ComputeDevice.Processor) return await RunDeviceAsync(parsed, device, json, cancellationToken);
        if (parsed.GetValue(_architecture) is { } architecture) return await RunNetworkAsync(Network(parsed, architecture), json, cancellationToken);
        string[] folders = [parsed.GetValue(_model)!, .. parsed.GetValue(_compare) ?? []];
        BenchmarkSettings settings = new(
            parsed.GetValue(_steps), CommonOptions.Checked("batch", parsed.GetValue(_batch), 1, 4096), CommonOptions.CheckedThreads(parsed.GetValue(_threads)),
            CommonOptions.Checked("rounds", parsed.GetValue(_rounds), 1, 100_000));
        // All models are in memory at once; what the process has beside them counts once.
        MemoryEstimate[] estimates = [.. folders.Select(folder => DiffusionPipeline.EstimateMemory(folder, settings.Pipeline))];
        long foretold = estimates.Sum(estimate => estimate.Total) + estimates[^1].Runtime;
        IReadOnlyList<BenchmarkResult> results = await Terminal.WithProgressAsync("measuring", json, progress => MeasureAsync(folders, settings, progress, cancellationToken));
        long peak = ProcessMemory.PeakResidentBytes();
        StepProfile[] profiles =
            [.. folders.Select(folder => OperationProfile.Measure(folder, settings.Batch, settings.Threads, Math.Min(settings.Steps ?? ProfiledSteps, ProfiledSteps), cancellationToken))];
        if (json) PrintJson(results, profiles, foretold, peak, settings);
        else Print(results, profiles, foretold, peak);
        return ExitCode.Success;
    }

    private async Task<int> RunDeviceAsync(ParseResult parsed, string specification, bool json, CancellationToken cancellationToken)
    {
        int batch = CommonOptions.Checked("batch", parsed.GetValue(_batch), 1, 4096), steps = CommonOptions.Checked("steps", parsed.GetValue(_steps) ?? ProfiledSteps, 1, 100_000);
        using ComputeDevice device = ComputeDevice.Open(specification, out string reason) ?? throw new DeviceException(specification, reason);
        device.MeasuresTiles = true;
        device.OutOfOrder = CommonOptions.CheckedOutOfOrder(parsed.GetValue(_deviceQueue)!);
        int? threads = CommonOptions.CheckedThreads(parsed.GetValue(_threads));
        DeviceFloat values = CommonOptions.CheckedDeviceFloat(parsed.GetValue(_deviceFloat)!);
        string? architecture = parsed.GetValue(_architecture);
        DeviceBenchmarkResult result = await Terminal.WithProgressAsync("measuring", json, progress => Task.Run(
            () =>
            {
                DelegateProgress<double> shares = new(share => progress.Report(new(share)));
                if (architecture is null) return DeviceBenchmark.Measure(parsed.GetValue(_model)!, device, values, batch, threads, steps, shares, cancellationToken);
                NetworkBenchmarkSettings settings = Network(parsed, architecture);
                using NetworkFolder? folder = NetworkBenchmark.Open(settings);
                (INetwork network, ModelWeights weights, IReadOnlyDictionary<string, TensorShape> inputs, _) = NetworkBenchmark.Create(settings, folder);
                return DeviceBenchmark.Measure(network, weights, inputs, device, values, threads, steps, shares, cancellationToken);
            },
            cancellationToken));
        if (json)
        {
            Terminal.Out.WriteLine(JsonSerializer.Serialize(result, JsonText.Compact));
            return ExitCode.Success;
        }

        Terminal.WriteTable(
            [result.Device, " load s", " step ms", " processor ms", " device : processor", " weights", " launches", " bytes up", " bytes down", " waits", " peak GOPS", " of peak"],
            [[
                architecture ?? parsed.GetValue(_model)!, Number(result.LoadSeconds), Number(result.DeviceSeconds * 1e3), Number(result.HostSeconds * 1e3), Number(result.DeviceSeconds / result.HostSeconds), Size.Format(result.WeightBytes),
                $"{result.PerStep.Launches}", $"{result.PerStep.BytesUp}", $"{result.PerStep.BytesDown}", $"{result.PerStep.Waits}", Number(result.PeakOperationsPerSecond / 1e9), Percent(result.PeakShare),
            ]]);
        Terminal.WriteTable(["kernel", " calls", " ms"], result.Kernels.Select(k => new[] { k.Kernel, $"{k.Calls}", Number(k.Total.TotalMilliseconds) }));
        Dictionary<string, OperationTime> host = result.HostOperations.ToDictionary(o => o.Kind);
        Terminal.WriteTable(
            ["operation", " count", " ms", " processor ms", " ratio"],
            result.DeviceOperations.Select(o => new[]
            {
                o.Kind, o.Operations.ToString(CultureInfo.InvariantCulture), Number(o.SecondsPerStep * 1e3), Number(host[o.Kind].SecondsPerStep * 1e3), Number(o.SecondsPerStep / host[o.Kind].SecondsPerStep),
            }));
        return ExitCode.Success;
    }

    private NetworkBenchmarkSettings Network(ParseResult parsed, string architecture) => new(
        architecture, parsed.GetValue(_weights)!, CommonOptions.CheckedAttention(parsed.GetValue(_attention)!), parsed.GetValue(_size), parsed.GetValue(_tile), CommonOptions.Checked("batch", parsed.GetValue(_batch), 1, 4096),
        CommonOptions.Checked("steps", parsed.GetValue(_steps), 1, 100_000), CommonOptions.CheckedThreads(parsed.GetValue(_threads)));

    private async Task<int> RunNetworkAsync(NetworkBenchmarkSettings settings, bool json, CancellationToken cancellationToken)
    {
        NetworkBenchmarkResult result = await Terminal.WithProgressAsync("packing", json, progress => Task.Run(
            () => NetworkBenchmark.Measure(settings, new DelegateProgress<double>(share => progress.Report(new(share))), cancellationToken), cancellationToken));
        if (json)
        {
            Terminal.Out.WriteLine(JsonSerializer.Serialize(result, JsonText.Compact));
            return ExitCode.Success;
        }

        Terminal.Out.WriteLine($"{result.Architecture} {result.Precision}, {result.Inputs}: {result.Macs / 1e9:0.0} GMAC");
        Terminal.WriteTable(
            ["load s", " first step s", " start to first step s", " weights", " activations", " foretold", " resident peak", " foretold : resident"],
            [[
                Number(result.LoadSeconds), Number(result.FirstStepSeconds), Number(result.StartToFirstStepSeconds), Size.Format(result.WeightBytes), Size.Format(result.ActivationBytes),
                Size.Format(result.EstimatedBytes), Size.Format(result.PeakResidentBytes), Number(result.EstimateRatio),
            ]]);
        double peak = result.PeakOperationsPerSecond;
        Terminal.WriteTable(
            [$"{result.Steps} passes", " s", " GOPS", peak > 0 ? $" of peak ({Number(peak / 1e12)} TOPS)" : " of peak"],
            [
                Pass("median", result.StepP50Seconds), Pass("95 of 100", result.StepP95Seconds), Pass("fastest", result.StepMinimumSeconds), Pass("sum of each operation's fastest", result.BestSeconds),
            ]);
        Terminal.Out.WriteLine($"{Percent(result.OutsideOperations)} of a pass outside operations");
        Terminal.WriteTable(
            ["operation", " count", " mean ms", " share", " of peak", " best ms", " GOPS", " of peak"],
            result.Operations.Select(o => new[]
            {
                o.Kind, o.Operations.ToString(CultureInfo.InvariantCulture), Number(o.SecondsPerStep * 1e3), Percent(o.Share), OfPeak(2 * o.MacsPerSecond),
                Number(o.BestSecondsPerStep * 1e3), o.BestMacsPerSecond > 0 ? Number(2 * o.BestMacsPerSecond / 1e9) : "", OfPeak(2 * o.BestMacsPerSecond),
            }));
        return ExitCode.Success;

        string[] Pass(string name, double seconds) => [name, Precise(seconds), Number(2 * result.Macs / seconds / 1e9), OfPeak(2 * result.Macs / seconds)];

        string OfPeak(double operationsPerSecond) => operationsPerSecond > 0 && peak > 0 ? Percent(operationsPerSecond / peak) : "";
    }

    private static async Task<IReadOnlyList<BenchmarkResult>> MeasureAsync(
        IReadOnlyList<string> folders, BenchmarkSettings settings, IProgress<ProgressUpdate> progress, CancellationToken cancellationToken)
    {
        List<ModelBenchmark> models = [];
        try
        {
            TimeSpan startUp = ProcessClock.SinceStart();
            foreach (string folder in folders) models.Add(await ModelBenchmark.LoadAsync(folder, settings, startUp, cancellationToken));
            for (int round = 0; round < settings.Rounds; round++)
            {
                foreach (ModelBenchmark model in models) await model.RunRoundAsync(cancellationToken);
                progress.Report(new((round + 1.0) / settings.Rounds, $"round {round + 1}/{settings.Rounds}"));
            }

            return [.. models.Select(model => model.Result())];
        }
        finally
        {
            foreach (ModelBenchmark model in models) await model.DisposeAsync();
        }
    }

    private void Print(IReadOnlyList<BenchmarkResult> results, StepProfile[] profiles, long foretold, long peak)
    {
        BenchmarkResult first = results[0];
        Terminal.WriteTable(
            ["model", " load s", " start to first step s", " first image s", " text ms", " step p50 ms", " step p95 ms", " decoding ms", " images/s", " weights", " step, ratio"],
            results.Select(r => new[]
            {
                r.Model, Number(r.LoadSeconds), Number(r.StartToFirstStepSeconds), Number(r.FirstImageSeconds), Milliseconds(r.TextSeconds), Number(r.StepP50Seconds * 1e3), Number(r.StepP95Seconds * 1e3), Milliseconds(r.DecodeSeconds),
                Number(r.ImagesPerSecond), Size.Format(r.WeightBytes), Number(r.StepP50Seconds / first.StepP50Seconds),
            }));
        Terminal.Out.WriteLine($"{first.Steps} steps, batches of {first.Batch}, resident at most {Size.Format(peak)}, foretold {Size.Format(foretold)}: {Number((double)foretold / peak)} of it");
        for (int i = 0; i < results.Count; i++)
        {
            Terminal.Out.WriteLine();
            Terminal.Out.WriteLine($"{results[i].Model}, one step, {Percent(profiles[i].OutsideOperations)} of it outside operations:");
            Terminal.WriteTable(
                ["operation", " count", " mean ms", " share", " best ms", " GMAC/s"],
                profiles[i].Operations.Select(o => new[]
                {
                    o.Kind, o.Operations.ToString(CultureInfo.InvariantCulture), Number(o.SecondsPerStep * 1e3), Percent(o.Share),
                    Number(o.BestSecondsPerStep * 1e3), o.BestMacsPerSecond > 0 ? Number(o.BestMacsPerSecond / 1e9) : "",
                }));
        }
    }

    private void PrintJson(IReadOnlyList<BenchmarkResult> results, StepProfile[] profiles, long foretold, long peak, BenchmarkSettings settings) =>
        Terminal.Out.WriteLine(JsonSerializer.Serialize(
            new
            {
                Threads = settings.Threads ?? Environment.ProcessorCount,
                settings.Rounds,
                ForetoldBytes = foretold,
                PeakResidentBytes = peak,
                Models = results.Select((result, i) => new { Result = result, StepRatio = result.StepP50Seconds / results[0].StepP50Seconds, profiles[i].Operations, profiles[i].OutsideOperations }),
            },
            JsonText.Compact));

    private static string Milliseconds(double? seconds) => seconds is { } time ? Number(time * 1e3) : "";

    private static string Precise(double value) => value.ToString("0.0000", CultureInfo.InvariantCulture);

    private static string Percent(double share) => string.Create(CultureInfo.InvariantCulture, $"{share * 100:0.0} %");

    private static string Number(double value) => value.ToString("0.00", CultureInfo.InvariantCulture);
}

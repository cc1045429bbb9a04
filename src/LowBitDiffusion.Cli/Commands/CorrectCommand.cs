using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Quantizer.Correction;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd correct</c>: corrects the predictions of a quantized model.</summary>
internal sealed class CorrectCommand : CliCommand
{
    private readonly Option<string> _model = CommonOptions.Model("The quantized model; the correction is written into its folder.");
    private readonly Option<string?> _reference = new("--reference", "-r") { Description = "The float model it was made from.", HelpName = "DIR" };
    private readonly Option<bool> _remove = new("--remove") { Description = "Remove the correction that is there, and stop." };
    private readonly Option<int?> _steps = new("--steps") { Description = "Steps of the trajectories: as they will be drawn. Default: the model's.", HelpName = "N" };
    private readonly Option<float?> _guidance = new("--guidance") { Description = "Guidance of the trajectories; the model draws with this guidance alone afterwards. Default: the model's.", HelpName = "G" };
    private readonly Option<float> _eta = new("--eta") { Description = "DDIM's eta of the trajectories.", HelpName = "E" };
    private readonly Option<int?> _images = new("--images") { Description = "Trajectories. Default: 64; 8 of a model that draws latents.", HelpName = "N" };
    private readonly Option<int?> _batch = new("--batch") { Description = "Images drawn at once. Default: 8; 1 of a model that draws latents.", HelpName = "N" };
    private readonly Option<ulong> _seed = new("--seed") { Description = "Seed of the first trajectory.", HelpName = "S" };
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<bool> _json = CommonOptions.Json();

    public CorrectCommand(Terminal terminal)
        : base("correct", "Correct the predictions of a quantized model after PTQD: correlated error, bias per channel and noise at every timestep, taken out while sampling.", terminal)
    {
        _model.Required = true;
        foreach (Option option in new Option[] { _model, _reference, _remove, _steps, _guidance, _eta, _images, _batch, _seed, _threads, _json }) Options.Add(option);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd correct --model models/fashion-unet-w4a8 --reference models/fashion-unet --steps 20",
        "lbd correct --model models/fashion-unet-w4a8 --remove",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string model = parsed.GetValue(_model)!;
        if (parsed.GetValue(_remove))
        {
            bool removed = PredictionCorrector.Remove(model);
            Terminal.Out.WriteLine(removed ? $"{model}: the correction is removed" : $"{model}: there was no correction");
            return ExitCode.Success;
        }

        bool json = parsed.GetValue(_json);
        CorrectionRequest request = new()
        {
            Model = model,
            Reference = parsed.GetValue(_reference) ?? throw new InvalidRequestException("reference", "expected the folder of the float model, found none"),
            Steps = parsed.GetValue(_steps),
            GuidanceScale = parsed.GetValue(_guidance),
            Eta = parsed.GetValue(_eta),
            Images = CommonOptions.Checked("images", parsed.GetValue(_images), 1, 1 << 20),
            Batch = CommonOptions.Checked("batch", parsed.GetValue(_batch), 1, 4096),
            Seed = parsed.GetValue(_seed),
            Threads = CommonOptions.CheckedThreads(parsed.GetValue(_threads)),
        };
        CorrectionReport report = await RunAsync(Terminal, request, json, cancellationToken);
        if (json) Terminal.Out.WriteLine(JsonSerializer.Serialize(Points(report), JsonText.Compact));
        else Print(Terminal, report);
        return ExitCode.Success;
    }

    /// <summary>Collects under a bar.</summary>
    public static Task<CorrectionReport> RunAsync(Terminal terminal, CorrectionRequest request, bool quiet, CancellationToken cancellationToken) => terminal.WithProgressAsync("correcting", quiet, progress => Task.Run(
        () => PredictionCorrector.Run(request, new DelegateProgress<double>(fraction => progress.Report(new(fraction))), cancellationToken), cancellationToken));

    /// <summary>Shows what a correction does.</summary>
    public static void Print(Terminal terminal, CorrectionReport report) => terminal.WriteTable(
        [" timestep", " slope", " bias", " deviation", " MSE before", " MSE after"],
        Points(report).Select(point => new[]
        {
            Text(point.Timestep, "0.##"), Text(point.Slope, "0.00000"), string.Join(' ', point.Bias.Select(bias => Text(bias, "0.00000"))), Text(point.Deviation, "0.00000"), Text(point.MseBefore, "0.###E+0"), Text(point.MseAfter, "0.###E+0"),
        }));

    private static Point[] Points(CorrectionReport report)
    {
        double[] slopes = report.Correction.Slopes.ToArray(), deviations = report.Correction.Deviations.ToArray();
        double[][] biases = [.. report.Correction.Biases.ToArray().Chunk(report.Correction.Channels)];
        return [.. report.Points.Select((point, i) => new Point(point.Timestep, slopes[i], biases[i], deviations[i], point.Before, point.After))];
    }

    private static string Text(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);

    private sealed record Point(float Timestep, double Slope, double[] Bias, double Deviation, double MseBefore, double MseAfter);
}

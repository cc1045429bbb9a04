using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Quantizer.Evaluation;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd compare</c>: many quantized models beside the float model they were made from, so that anyone can choose.</summary>
internal sealed class CompareCommand : CliCommand
{
    private static readonly EvaluationOptions s_defaults = new ComparisonRequest { Models = [], Reference = "", Cache = "" }.Drawing;

    private static readonly string[] s_headers =
        ["model", "precision", "method", " file", " in memory", " bit operations per step", " of float", " PSNR", " SSIM", " label accuracy", " Fréchet distance", " to float's pictures"];

    private readonly Argument<string[]> _models = new("DIR") { Description = "Folders of quantized models.", Arity = ArgumentArity.OneOrMore };
    private readonly DrawingOptions _drawing = new();
    private readonly Option<int> _trajectories = new("--trajectories")
    {
        Description = "Images whose samples are compared after every step; 0 for none. They are kept on disk: images x steps x 4 bytes a value.",
        HelpName = "N",
        DefaultValueFactory = _ => s_defaults.Trajectories,
    };
    private readonly Option<int> _columns = new("--sheet-images") { Description = "Images of each model on the contact sheet.", HelpName = "N", DefaultValueFactory = _ => s_defaults.SheetImages };
    private readonly Option<string?> _out = new("--out", "-o")
    {
        Description = "Folder for comparison.json, comparison.md, sheet.png, trajectory.png, trajectory.svg, and a cache: the same command again continues where it stopped, with more models it draws those alone.",
        HelpName = "DIR",
    };
    private readonly Option<bool> _fresh = new("--fresh") { Description = "Draw everything again, whatever the cache in --out holds." };
    private readonly Option<bool> _json = CommonOptions.Json();

    public CompareCommand(Terminal terminal)
        : base("compare", "Compare quantized models with their float model: size, bit operations, likeness, label accuracy, Fréchet distance, and error step by step.", terminal)
    {
        Arguments.Add(_models);
        _drawing.AddTo(this);
        foreach (Option option in new Option[] { _trajectories, _columns, _out, _fresh, _json }) Options.Add(option);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd compare models/fashion-unet-w8a8 models/fashion-unet-w4a8 --reference models/fashion-unet --classifier models/fashion-classifier --steps 20 --out comparison",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        bool json = parsed.GetValue(_json);
        string? output = parsed.GetValue(_out);
        if (output is not null) OutputPath.CheckFolder(output);
        DirectoryInfo? temporary = output is null ? Directory.CreateTempSubdirectory("lowbit-comparison") : null;
        try
        {
            ComparisonRequest request = new()
            {
                Models = parsed.GetValue(_models)!,
                Reference = _drawing.Reference(parsed),
                Classifier = _drawing.Classifier(parsed),
                Drawing = _drawing.Drawing(parsed) with { SheetImages = parsed.GetValue(_columns), Trajectories = parsed.GetValue(_trajectories) },
                Cache = Path.Combine(temporary?.FullName ?? output!, "cache"),
                Fresh = parsed.GetValue(_fresh),
                Threads = _drawing.Threads(parsed),
            };
            (ComparisonResult result, Image sheet) = await Terminal.WithProgressAsync("comparing", json, progress => ModelComparer.RunAsync(
                request, new DelegateProgress<ComparisonProgress>(stage => progress.Report(new(stage.Fraction, stage.Model))), cancellationToken));
            if (output is not null) Save(result, sheet, output);
            if (json) Terminal.Out.WriteLine(JsonSerializer.Serialize(result, JsonText.Compact));
            else Print(result);
            return ExitCode.Success;
        }
        finally
        {
            temporary?.Delete(recursive: true);
        }
    }

    private static void Save(ComparisonResult result, Image sheet, string folder)
    {
        OutputFile.WriteAllText(Path.Combine(folder, "comparison.json"), $"{JsonSerializer.Serialize(result, JsonText.Compact)}\n");
        using StringWriter markdown = new() { NewLine = "\n" };
        markdown.WriteLine($"{Summary(result)}\n");
        MarkdownTable.Write(markdown, s_headers, [.. Rows(result)]);
        OutputFile.WriteAllText(Path.Combine(folder, "comparison.md"), markdown.ToString());
        PngWriter.Save(Path.Combine(folder, "sheet.png"), sheet);
        if (result.Trajectories > 0) result.TrajectoryPlot().Save(Path.Combine(folder, "trajectory"));
    }

    private void Print(ComparisonResult result)
    {
        Terminal.Out.WriteLine(Summary(result));
        Terminal.Out.WriteLine();
        Terminal.WriteTable(s_headers, Rows(result));
    }

    private static string Summary(ComparisonResult result) => string.Create(
        CultureInfo.InvariantCulture, $"{result.Count} pictures of each model from seed {result.Seed}, {result.Steps} steps, guidance {result.GuidanceScale}; PSNR and SSIM against the float model's pictures of the same noise.");

    private static IEnumerable<string[]> Rows(ComparisonResult result) => result.Models.Prepend(result.Reference).Select(model =>
    {
        bool reference = ReferenceEquals(model, result.Reference);
        return new[]
        {
            model.Name, model.Precision, model.Method ?? "", Size.Format(model.FileBytes), Size.Format(model.WeightBytes), Number(model.BitOperationsPerStep / 1e9, "0.0 G"),
            Number((double)model.BitOperationsPerStep / result.Reference.BitOperationsPerStep, "0.0 %"),
            reference ? "" : model.Psnr is { } psnr ? Number(psnr, "0.00 dB") : "equal", Number(model.Ssim, "0.0000"),
            Number(model.LabelAccuracy, "0.0 %"), Number(model.FrechetDistance, "0.00"), Number(model.FrechetDistanceToReference, "0.00"),
        };
    });

    private static string Number(double? value, string format) => value?.ToString(format, CultureInfo.InvariantCulture) ?? "";
}

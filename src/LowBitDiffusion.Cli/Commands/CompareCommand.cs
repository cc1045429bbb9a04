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
        (string[] headers, string[][] rows) = Table(result);
        MarkdownTable.Write(markdown, headers, rows);
        OutputFile.WriteAllText(Path.Combine(folder, "comparison.md"), markdown.ToString());
        PngWriter.Save(Path.Combine(folder, "sheet.png"), sheet);
        if (result.Trajectories > 0) result.TrajectoryPlot().Save(Path.Combine(folder, "trajectory"));
    }

    private void Print(ComparisonResult result)
    {
        Terminal.Out.WriteLine(Summary(result));
        Terminal.Out.WriteLine();
        (string[] headers, string[][] rows) = Table(result);
        Terminal.WriteTable(headers, rows);
    }

    private static string Summary(ComparisonResult result) => string.Create(
        CultureInfo.InvariantCulture, $"{result.Count} pictures of each model from seed {result.Seed}, {result.Steps} steps, guidance {result.GuidanceScale}; PSNR and SSIM against the float model's pictures of the same noise.");

    // A column that is empty for all models is left out.
    private static (string[] Headers, string[][] Rows) Table(ComparisonResult result)
    {
        (string Header, Func<ComparedModel, string> Cell)[] columns =
        [
            ("model", model => model.Name),
            ("precision", model => model.Precision),
            ("method", model => $"{model.Method}{(model.Corrected ? ", ptqd" : "")}"),
            (" file", model => Size.Format(model.FileBytes)),
            (" in memory", model => Size.Format(model.WeightBytes)),
            (" bit operations per step", model => string.Create(CultureInfo.InvariantCulture, $"{model.BitOperationsPerStep / 1e9:0.0} G")),
            (" of float", model => Figures.Share((double)model.BitOperationsPerStep / result.Reference.BitOperationsPerStep)),
            (" PSNR", model => ReferenceEquals(model, result.Reference) ? "" : Figures.Psnr(model.Psnr)),
            (" SSIM", model => Figures.Ssim(model.Ssim)),
            (" label accuracy", model => Figures.Share(model.LabelAccuracy)),
            (" Fréchet distance", model => Figures.Distance(model.FrechetDistance)),
            (" to float's pictures", model => Figures.Distance(model.FrechetDistanceToReference)),
        ];
        ComparedModel[] models = [result.Reference, .. result.Models];
        (string Header, string[] Cells)[] filled = [.. columns.Select(column => (column.Header, Cells: models.Select(column.Cell).ToArray())).Where(column => column.Cells.Any(cell => cell.Length > 0))];
        return ([.. filled.Select(column => column.Header)], [.. models.Select((_, i) => filled.Select(column => column.Cells[i]).ToArray())]);
    }
}

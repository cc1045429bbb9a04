using System.CommandLine;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Evaluation;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd evaluate</c>: compares the pictures of two models.</summary>
internal sealed class EvaluateCommand : CliCommand
{
    private readonly Option<string> _model = CommonOptions.Model("The model to judge.");
    private readonly DrawingOptions _drawing = new();
    private readonly Option<string?> _out = new("--out", "-o") { Description = "Write all figures, image by image, as JSON.", HelpName = "FILE" };
    private readonly Option<string?> _sheet = new("--sheet") { Description = "Write a contact sheet: the reference's images above, the model's below.", HelpName = "FILE" };
    private readonly Option<bool> _json = CommonOptions.Json();

    public EvaluateCommand(Terminal terminal)
        : base("evaluate", "Draw the same seeds with two models and compare: PSNR and SSIM of every pair, label accuracy and Fréchet distance of each model.", terminal)
    {
        _model.Required = true;
        Options.Add(_model);
        _drawing.AddTo(this);
        foreach (Option option in new Option[] { _out, _sheet, _json }) Options.Add(option);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd evaluate --model models/fashion-unet-w4a8 --reference models/fashion-unet --classifier models/fashion-classifier --count 1024 --steps 20",
        "lbd evaluate --model models/fashion-unet-w4a8 --reference models/fashion-unet --count 20 --sheet sheet.png --out report.json",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        bool json = parsed.GetValue(_json);
        string? report = parsed.GetValue(_out), sheet = parsed.GetValue(_sheet);
        PipelineOptions running = new() { Threads = _drawing.Threads(parsed) };
        if (report is not null) OutputPath.CheckFile(report);
        if (sheet is not null) OutputPath.CheckFile(sheet);
        Ruler? ruler = _drawing.Classifier(parsed) is { } classifier ? Ruler.Load(classifier) : null;
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(parsed.GetValue(_model)!, running, cancellationToken: cancellationToken);
        await using DiffusionPipeline reference = await DiffusionPipeline.LoadAsync(_drawing.Reference(parsed), running, cancellationToken: cancellationToken);

        (EvaluationResult result, Image image) = await Terminal.WithProgressAsync("comparing", json, progress => Evaluator.CompareAsync(
            model, reference, ruler, _drawing.Drawing(parsed), new DelegateProgress<double>(fraction => progress.Report(new(fraction))), cancellationToken));
        if (report is not null) OutputFile.WriteAllBytes(report, result.ToJson());
        if (sheet is not null) PngWriter.Save(sheet, image);
        if (json) Terminal.Out.WriteLine(System.Text.Encoding.UTF8.GetString(result.ToJson()));
        else Terminal.Out.Write(result.ToText());
        return ExitCode.Success;
    }
}

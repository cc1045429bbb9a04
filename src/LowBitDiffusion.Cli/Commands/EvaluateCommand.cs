using System.CommandLine;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Evaluation;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd evaluate</c>: compares the pictures of two models.</summary>
internal sealed class EvaluateCommand : CliCommand
{
    private static readonly EvaluationOptions s_defaults = new();

    private readonly Option<string> _model = CommonOptions.Model("The model to judge.");
    private readonly Option<string> _reference = new("--reference", "-r") { Description = "The model to compare it with, most often the float one it was made from.", HelpName = "DIR", Required = true };
    private readonly Option<int?> _count = new("--count", "-n") { Description = $"Images of each model. Default: {s_defaults.Count}; 8 of models that draw latents.", HelpName = "N" };
    private readonly Option<int?> _steps = new("--steps") { Description = "Steps of the sampler. Default: the reference's.", HelpName = "N" };
    private readonly Option<float?> _guidance = new("--guidance") { Description = "Classifier-free guidance. Default: the reference's.", HelpName = "G" };
    private readonly Option<ulong> _seed = new("--seed") { Description = "Seed of the first image.", HelpName = "S" };
    private readonly Option<int?> _batch = new("--batch") { Description = $"Images asked for at once; the result does not depend on it. Default: {s_defaults.Batch}; 1 of models that draw latents.", HelpName = "N" };
    private readonly Option<int?> _size = new("--size") { Description = "Pixels along each side of the images. Default: the reference's.", HelpName = "N" };
    private readonly Option<string?> _prompts = CommonOptions.Prompts("What models that take text draw");
    private readonly Option<string?> _embeddings = CommonOptions.PromptEmbeddings();
    private readonly Option<string?> _classifier = new("--classifier")
    {
        Description = "Folder of a classifier with reference_statistics.safetensors: adds label accuracy and Fréchet distance to real images.",
        HelpName = "DIR",
    };
    private readonly Option<string?> _out = new("--out", "-o") { Description = "Write all figures, image by image, as JSON.", HelpName = "FILE" };
    private readonly Option<string?> _sheet = new("--sheet") { Description = "Write a contact sheet: the reference's images above, the model's below.", HelpName = "FILE" };
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<bool> _json = CommonOptions.Json();

    public EvaluateCommand(Terminal terminal)
        : base("evaluate", "Draw the same seeds with two models and compare: PSNR and SSIM of every pair, label accuracy and Fréchet distance of each model.", terminal)
    {
        _model.Required = true;
        foreach (Option option in new Option[] { _model, _reference, _count, _steps, _guidance, _seed, _batch, _size, _prompts, _embeddings, _classifier, _out, _sheet, _threads, _json }) Options.Add(option);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples =>
    [
        "lbd evaluate --model models/fashion-unet-w4a8 --reference models/fashion-unet --classifier models/fashion-classifier --count 1024 --steps 20",
        "lbd evaluate --model sd15-w8a8 --reference sd15 --prompts prompts.txt --steps 20 --sheet sheet.png",
        "lbd evaluate --model models/fashion-unet-w4a8 --reference models/fashion-unet --count 20 --sheet sheet.png --out report.json",
    ];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        bool json = parsed.GetValue(_json);
        string? report = parsed.GetValue(_out), sheet = parsed.GetValue(_sheet);
        IReadOnlyList<string>? prompts = parsed.GetValue(_prompts) is { } file ? PromptList.Read(file) : null;
        PromptEmbeddings? embeddings = parsed.GetValue(_embeddings) is { } encoded ? PromptEmbeddings.Load(encoded) : null;
        PipelineOptions running = new() { Threads = CommonOptions.CheckedThreads(parsed.GetValue(_threads)) };
        if (report is not null) OutputPath.CheckFile(report);
        if (sheet is not null) OutputPath.CheckFile(sheet);
        Ruler? ruler = parsed.GetValue(_classifier) is { } classifier ? Ruler.Load(classifier) : null;
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(parsed.GetValue(_model)!, running, cancellationToken: cancellationToken);
        await using DiffusionPipeline reference = await DiffusionPipeline.LoadAsync(parsed.GetValue(_reference)!, running, cancellationToken: cancellationToken);
        (int count, int batch) = reference.Description.DrawsLatents ? (8, 1) : (s_defaults.Count, s_defaults.Batch);
        EvaluationOptions options = new(parsed.GetValue(_count) ?? count, parsed.GetValue(_steps), parsed.GetValue(_guidance), parsed.GetValue(_seed), parsed.GetValue(_batch) ?? batch)
        {
            Prompts = prompts,
            PromptEmbeddings = embeddings,
            Height = parsed.GetValue(_size),
            Width = parsed.GetValue(_size),
        };

        (EvaluationResult result, Image image) = await Terminal.WithProgressAsync("comparing", json, progress => Evaluator.CompareAsync(
            model, reference, ruler, options, new DelegateProgress<double>(fraction => progress.Report(new(fraction))), cancellationToken));
        if (report is not null) OutputFile.WriteAllBytes(report, result.ToJson());
        if (sheet is not null) PngWriter.Save(sheet, image);
        if (json) Terminal.Out.WriteLine(System.Text.Encoding.UTF8.GetString(result.ToJson()));
        else Terminal.Out.Write(result.ToText());
        return ExitCode.Success;
    }
}

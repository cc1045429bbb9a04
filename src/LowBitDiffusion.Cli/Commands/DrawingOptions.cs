using System.CommandLine;
using LowBitDiffusion.Quantizer.Evaluation;

namespace LowBitDiffusion.Cli.Commands;

/// <summary>What <c>lbd evaluate</c> and <c>lbd compare</c> ask alike: the reference, what is drawn, and what measures it.</summary>
internal sealed class DrawingOptions
{
    private static readonly EvaluationOptions s_defaults = new();

    private readonly Option<string> _reference = new("--reference", "-r") { Description = "The model to compare with, most often the float one the others were made from.", HelpName = "DIR", Required = true };
    private readonly Option<int> _count = new("--count", "-n") { Description = "Images of each model.", HelpName = "N", DefaultValueFactory = _ => s_defaults.Count };
    private readonly Option<int?> _steps = new("--steps") { Description = "Steps of the sampler. Default: the reference's.", HelpName = "N" };
    private readonly Option<float?> _guidance = new("--guidance") { Description = "Classifier-free guidance. Default: the reference's.", HelpName = "G" };
    private readonly Option<ulong> _seed = new("--seed") { Description = "Seed of the first image.", HelpName = "S" };
    private readonly Option<int> _batch = new("--batch") { Description = "Images asked for at once; the result does not depend on it.", HelpName = "N", DefaultValueFactory = _ => s_defaults.Batch };
    private readonly Option<string?> _classifier = new("--classifier")
    {
        Description = "Folder of a classifier with reference_statistics.safetensors: adds label accuracy and Fréchet distance to real images.",
        HelpName = "DIR",
    };
    private readonly Option<int?> _threads = CommonOptions.Threads();

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { _reference, _count, _steps, _guidance, _seed, _batch, _classifier, _threads }) command.Options.Add(option);
    }

    /// <summary>The reference's folder.</summary>
    public string Reference(ParseResult parsed) => parsed.GetValue(_reference)!;

    /// <summary>The classifier's folder, or null.</summary>
    public string? Classifier(ParseResult parsed) => parsed.GetValue(_classifier);

    /// <summary>Threads, or null for one per processor.</summary>
    /// <exception cref="InvalidRequestException">Out of range.</exception>
    public int? Threads(ParseResult parsed) => CommonOptions.CheckedThreads(parsed.GetValue(_threads));

    /// <summary>What to draw.</summary>
    public EvaluationOptions Drawing(ParseResult parsed) => new(parsed.GetValue(_count), parsed.GetValue(_steps), parsed.GetValue(_guidance), parsed.GetValue(_seed), parsed.GetValue(_batch));
}

using System.CommandLine;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Evaluation;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Cli.Commands;

/// <summary>What <c>lbd evaluate</c> and <c>lbd compare</c> ask alike: the reference, what is drawn, and what measures it.</summary>
internal sealed class DrawingOptions
{
    private readonly Option<string> _reference = new("--reference", "-r") { Description = "The model to compare with, most often the float one the others were made from.", HelpName = "DIR", Required = true };
    private readonly Option<int?> _count = new("--count", "-n") { Description = "Images of each model. Default: 1024; 8 of models that draw latents.", HelpName = "N" };
    private readonly Option<int?> _steps = new("--steps") { Description = "Steps of the sampler. Default: the reference's.", HelpName = "N" };
    private readonly Option<float?> _guidance = new("--guidance") { Description = "Classifier-free guidance. Default: the reference's.", HelpName = "G" };
    private readonly Option<ulong> _seed = new("--seed") { Description = "Seed of the first image.", HelpName = "S" };
    private readonly Option<int?> _batch = new("--batch") { Description = "Images asked for at once; the result does not depend on it. Default: 32; 1 of models that draw latents.", HelpName = "N" };
    private readonly Option<int?> _size = new("--size") { Description = "Pixels along each side of the images. Default: the reference's.", HelpName = "N" };
    private readonly Option<string?> _prompts = CommonOptions.Prompts("What models that take text draw");
    private readonly Option<string?> _embeddings = CommonOptions.PromptEmbeddings();
    private readonly Option<string?> _classifier = new("--classifier")
    {
        Description = "Folder of a classifier with reference_statistics.safetensors: adds label accuracy and Fréchet distance to real images.",
        HelpName = "DIR",
    };
    private readonly Option<int?> _threads = CommonOptions.Threads();

    /// <summary>Adds them to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { _reference, _count, _steps, _guidance, _seed, _batch, _size, _prompts, _embeddings, _classifier, _threads }) command.Options.Add(option);
    }

    /// <summary>The reference's folder.</summary>
    public string Reference(ParseResult parsed) => parsed.GetValue(_reference)!;

    /// <summary>The classifier's folder, or null.</summary>
    public string? Classifier(ParseResult parsed) => parsed.GetValue(_classifier);

    /// <summary>Threads, or null for one per processor.</summary>
    /// <exception cref="InvalidRequestException">Out of range.</exception>
    public int? Threads(ParseResult parsed) => CommonOptions.CheckedThreads(parsed.GetValue(_threads));

    /// <summary>What to draw.</summary>
    public EvaluationOptions Drawing(ParseResult parsed) => new(parsed.GetValue(_count), parsed.GetValue(_steps), parsed.GetValue(_guidance), parsed.GetValue(_seed), parsed.GetValue(_batch))
    {
        Prompts = parsed.GetValue(_prompts) is { } prompts ? PromptList.Read(prompts) : null,
        PromptEmbeddings = parsed.GetValue(_embeddings) is { } embeddings ? PromptEmbeddings.Load(embeddings) : null,
        Height = parsed.GetValue(_size),
        Width = parsed.GetValue(_size),
    };
}

using System.CommandLine;
using LowBitDiffusion.Cli.Pictures;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Cli.Commands;

/// <summary>What is drawn after a text or another image, of which size, and by which scheduler. What is not given is taken from a picture where there is one.</summary>
internal sealed class SubjectOptions
{
    private readonly Option<string[]> _prompts = new("--prompt", "-p") { Description = "What to draw, in words. May be repeated for several images.", HelpName = "TEXT" };
    private readonly Option<string?> _negative = new("--negative-prompt") { Description = "What not to draw, in words.", HelpName = "TEXT" };
    private readonly Option<string?> _embeddings = CommonOptions.PromptEmbeddings();
    private readonly Option<int?> _height = new("--height") { Description = "Rows of an image. Default: the initial image's, or the model's.", HelpName = "N" };
    private readonly Option<int?> _width = new("--width") { Description = "Columns of an image. Default: the initial image's, or the model's.", HelpName = "N" };
    private readonly Option<string?> _scheduler = new("--scheduler") { Description = "Another scheduler than the model's, by diffusers' class name.", HelpName = "CLASS" };
    private readonly Option<string?> _init = new("--init-image") { Description = "A PNG to begin from instead of noise.", HelpName = "FILE" };
    private readonly Option<float?> _strength = new("--strength") { Description = "How much of the initial image is replaced, above 0 to 1. Default: 0.8.", HelpName = "S" };

    /// <summary>The options.</summary>
    public IEnumerable<Option> Options => [_prompts, _negative, _embeddings, _height, _width, _scheduler, _init, _strength];

    /// <summary>Whether the command line says what to draw.</summary>
    public bool IsGiven(ParseResult parsed) => parsed.GetValue(_prompts) is { Length: > 0 } || parsed.GetValue(_embeddings) is not null;

    /// <summary>The prompts, each once.</summary>
    public IReadOnlyList<string> Prompts(ParseResult parsed, PictureRecord? like) =>
        parsed.GetValue(_prompts) is { Length: > 0 } given ? given : parsed.GetValue(_embeddings) is not null ? [] : [.. like?.Prompts.Distinct() ?? []];

    /// <summary>These options' part of a request.</summary>
    public GenerationRequest Request(ParseResult parsed, PictureRecord? like)
    {
        PictureSource? init = InitImage(parsed, like);
        if (init is null && parsed.GetValue(_strength) is not null) throw new InvalidRequestException("strength", "expected --init-image as well, found none");
        GenerationRequest request = new()
        {
            NegativePrompt = parsed.GetValue(_negative) ?? like?.NegativePrompt ?? "",
            PromptEmbeddings = Embeddings(parsed, like) is { } file ? PromptEmbeddings.Load(file.Path) : null,
            Height = parsed.GetValue(_height) ?? like?.Height,
            Width = parsed.GetValue(_width) ?? like?.Width,
            Scheduler = parsed.GetValue(_scheduler) ?? like?.Scheduler,
            InitImage = init is null ? null : PngReader.Load(init.Path).Image,
        };
        return (parsed.GetValue(_strength) ?? like?.Strength) is { } strength ? request with { Strength = strength } : request;
    }

    /// <summary>What a picture keeps of the request; labels, seeds and layout are left to the caller.</summary>
    public PictureRecord Describe(ParseResult parsed, PictureRecord? like, IReadOnlyList<GeneratedImage> images, GenerationRequest request)
    {
        (PictureSource? init, PictureSource? embeddings) = (InitImage(parsed, like), Embeddings(parsed, like));
        return new PictureRecord
        {
            Model = "",
            Labels = [],
            Prompts = [.. images.Select(image => image.Prompt).OfType<string>()],
            NegativePrompt = request.NegativePrompt,
            PromptEmbeddings = embeddings?.Name,
            PromptEmbeddingsSha256 = embeddings?.Sha256,
            Height = images[0].Image.Height,
            Width = images[0].Image.Width,
            Scheduler = request.Scheduler,
            InitImage = init?.Name,
            InitImageSha256 = init?.Sha256,
            Strength = request.InitImage is null ? null : request.Strength,
            Seeds = [],
            Steps = 0,
            Guidance = 0,
            Eta = 0,
            Noise = default,
            Layout = new PictureLayout(1, 0, 1, false),
        };
    }

    private PictureSource? InitImage(ParseResult parsed, PictureRecord? like) =>
        PictureSource.Of("init-image", parsed.GetValue(_init), like?.InitImage, like?.InitImageSha256, like?.Folder);

    // Prompts on the command line replace the picture's embeddings.
    private PictureSource? Embeddings(ParseResult parsed, PictureRecord? like) => parsed.GetValue(_embeddings) is null && parsed.GetValue(_prompts) is { Length: > 0 } ? null
        : PictureSource.Of("prompt-embeddings", parsed.GetValue(_embeddings), like?.PromptEmbeddings, like?.PromptEmbeddingsSha256, like?.Folder);
}

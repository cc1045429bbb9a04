using LowBitDiffusion.Imaging;
using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Pipelines;

/// <summary>What to draw. One image per label or prompt, or <see cref="Count"/> images of one prompt or of a model without either.</summary>
public sealed record GenerationRequest
{
    /// <summary>Labels of a class-conditional model, one per image; empty for a model without labels.</summary>
    public IReadOnlyList<int> Labels { get; init; } = [];

    /// <summary>Prompts of a model that takes text: one per image, or one for <see cref="Count"/> images.</summary>
    public IReadOnlyList<string> Prompts { get; init; } = [];

    /// <summary>What guidance leads away from, for all images. Empty for nothing: the empty text, or zeros where the model was trained so.</summary>
    public string NegativePrompt { get; init; } = "";

    /// <summary>Text that was encoded elsewhere, in place of prompts; needed by models whose text encoder is not part of this library.</summary>
    public PromptEmbeddings? PromptEmbeddings { get; init; }

    /// <summary>Rows of the images; null for the initial image's, or the model's.</summary>
    public int? Height { get; init; }

    /// <summary>Columns of the images; null for the initial image's, or the model's.</summary>
    public int? Width { get; init; }

    /// <summary>diffusers' class of another scheduler than the model's, or null.</summary>
    public string? Scheduler { get; init; }

    /// <summary>An image to begin from instead of noise, or null.</summary>
    public Image? InitImage { get; init; }

    /// <summary>How much of <see cref="InitImage"/> is replaced: the share of the steps that is done, above 0 to 1.</summary>
    public float Strength { get; init; } = 0.8f;

    /// <summary>Rows and columns that SDXL takes the training image for before it was scaled and cropped; null for the images' own.</summary>
    public (int Height, int Width)? OriginalSize { get; init; }

    /// <summary>Rows and columns that SDXL takes for cropped at the top and left.</summary>
    public (int Top, int Left) Crop { get; init; }

    /// <summary>Rows and columns that SDXL takes for the wanted ones; null for the images' own.</summary>
    public (int Height, int Width)? TargetSize { get; init; }

    /// <summary>Images of one prompt, or of a model without labels and prompts.</summary>
    public int Count { get; init; } = 1;

    /// <summary>Images that the request asks for.</summary>
    public int Images => Labels.Count > 0 ? Labels.Count : Prompts.Count > 1 ? Prompts.Count : PromptEmbeddings is { Count: > 1 } several ? several.Count : Count;

    /// <summary>Steps of the sampler; null for the model's default.</summary>
    public int? Steps { get; init; }

    /// <summary>Classifier-free guidance <c>e = e_null + g·(e_label − e_null)</c>; 1 for none, null for the model's default.</summary>
    public float? GuidanceScale { get; init; }

    /// <summary>Seed of the first image; image i has seed <c>Seed + i</c>. Ignored where <see cref="Seeds"/> is given.</summary>
    public ulong Seed { get; init; }

    /// <summary>One seed per image, or null.</summary>
    public IReadOnlyList<ulong>? Seeds { get; init; }

    /// <summary>Whose random numbers a seed stands for.</summary>
    public NoiseSource NoiseSource { get; init; } = NoiseSource.TorchCpu;

    /// <summary>DDIM's η: 0 deterministic, 1 as much noise as DDPM.</summary>
    public float Eta { get; init; }

    /// <summary>Whether images come with <see cref="GeneratedImage.Sample"/>. Without, a device that decodes hands over bytes only, a quarter as many.</summary>
    public bool KeepsSamples { get; init; } = true;
}

/// <summary>What a request is at.</summary>
public enum GenerationStage
{
    /// <summary>Text or the initial image is encoded.</summary>
    Encoding,
    /// <summary>Steps of the sampler.</summary>
    Sampling,
    /// <summary>Latents become images.</summary>
    Decoding,
}

/// <summary>How far a request is.</summary>
/// <param name="Stage">What has just been done, or is being done.</param>
/// <param name="Finished">Images done.</param>
/// <param name="Images">Images of the request.</param>
/// <param name="Step">Steps done of the batch being drawn.</param>
/// <param name="Steps">Steps of a batch.</param>
/// <param name="Fraction">Share of the request that is done, 0 to 1.</param>
/// <param name="Elapsed">Time since the request began.</param>
/// <param name="UnderWay">Whether texts or an image are still being encoded or decoded.</param>
public readonly record struct GenerationProgress(GenerationStage Stage, int Finished, int Images, int Step, int Steps, double Fraction, TimeSpan Elapsed, bool UnderWay = false);

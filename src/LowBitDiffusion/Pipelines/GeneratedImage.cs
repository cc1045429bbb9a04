using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Pipelines;

/// <summary>A drawn image and what it takes to draw it again.</summary>
/// <param name="Image">8-bit pixels.</param>
/// <param name="Sample">The same in floats, <c>[C, H, W]</c>, about −1 to 1, as the sampler or the decoder left it; empty unless <see cref="GenerationRequest.KeepsSamples"/>.</param>
/// <param name="Label">Its label, or null.</param>
/// <param name="Seed">Its seed.</param>
public sealed record GeneratedImage(Image Image, float[] Sample, int? Label, ulong Seed)
{
    /// <summary>Its prompt, or null.</summary>
    public string? Prompt { get; init; }

    /// <summary>What of prompt and negative prompt did not fit the text encoder; empty if all did.</summary>
    public IReadOnlyList<TruncatedPrompt> Truncated { get; init; } = [];
}

/// <summary>A prompt that has more tokens than the text encoder takes.</summary>
/// <param name="Prompt">The whole prompt.</param>
/// <param name="Dropped">The words at its end that had no effect, in lower case.</param>
/// <param name="Tokens">Tokens that the encoder takes, start and end included.</param>
public sealed record TruncatedPrompt(string Prompt, string Dropped, int Tokens);

/// <summary>One step of a request in progress.</summary>
/// <param name="Progress">How far the request is.</param>
/// <param name="Timestep">The timestep just done; 0 before and after sampling.</param>
/// <param name="Previews">What the images would be if the sampler stopped here, or empty where no previews were asked for.</param>
/// <param name="Finished">The batch's images, after its last step; of a latent model each when it is decoded; else empty.</param>
public sealed record GenerationUpdate(GenerationProgress Progress, float Timestep, IReadOnlyList<Image> Previews, IReadOnlyList<GeneratedImage> Finished);

using LowBitDiffusion.Formats;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Pipelines;

/// <summary>Where a model's text conditions come from.</summary>
internal enum TextSource
{
    /// <summary>It takes no text.</summary>
    None,
    /// <summary>One CLIP encoder's last hidden state.</summary>
    Clip,
    /// <summary>SDXL: the penultimate hidden states of two CLIP encoders side by side, and the second's projection.</summary>
    ClipPair,
    /// <summary>A file: the encoder is not part of this library.</summary>
    File,
}

/// <summary>Whether a model draws in the latent space of an autoencoder.</summary>
internal enum LatentSpace
{
    /// <summary>It draws pixels.</summary>
    Never,
    /// <summary>It does if it has an autoencoder.</summary>
    IfPresent,
    /// <summary>It must have an autoencoder.</summary>
    Always,
}

/// <summary>What a class of diffusers' pipelines is made of; the class that <c>model_index.json</c> names decides what a folder must hold and what is done if a request does not say.</summary>
/// <param name="Name">The class.</param>
/// <param name="Networks">Denoising networks that it can have.</param>
/// <param name="Latent">Whether it has an autoencoder.</param>
/// <param name="Text">Where text comes from.</param>
/// <param name="Steps">Default steps.</param>
/// <param name="GuidanceScale">Default guidance.</param>
internal sealed record PipelineClass(string Name, string[] Networks, LatentSpace Latent, TextSource Text = TextSource.None, int Steps = 50, float GuidanceScale = 1)
{
    private static readonly string[] s_autoencoders = ["vae", "vqvae"];
    private static readonly string[] s_conditional = [nameof(UNet2DConditionModel)];
    private static readonly string[] s_pixArt = [nameof(PixArtTransformer2DModel)];
    private static readonly string[] s_unconditional = [nameof(UNet2DModel)];

    private static readonly PipelineClass[] s_all =
    [
        new("StableDiffusionPipeline", s_conditional, LatentSpace.Always, TextSource.Clip, 50, 7.5f),
        new("StableDiffusionImg2ImgPipeline", s_conditional, LatentSpace.Always, TextSource.Clip, 50, 7.5f),
        new("StableDiffusionXLPipeline", s_conditional, LatentSpace.Always, TextSource.ClipPair, 50, 5),
        new("StableDiffusionXLImg2ImgPipeline", s_conditional, LatentSpace.Always, TextSource.ClipPair, 50, 5),
        new("PixArtAlphaPipeline", s_pixArt, LatentSpace.Always, TextSource.File, 20, 4.5f),
        new("PixArtSigmaPipeline", s_pixArt, LatentSpace.Always, TextSource.File, 20, 4.5f),
        new("DiTPipeline", [nameof(DiTTransformer2DModel)], LatentSpace.Always, TextSource.None, 50, 4),
        new("LDMPipeline", s_unconditional, LatentSpace.Always),
        new("DDPMPipeline", s_unconditional, LatentSpace.Never),
        new("DDIMPipeline", s_unconditional, LatentSpace.Never),
        new("ClassConditionalDiffusionPipeline", [nameof(UNet2DModel), nameof(DiTTransformer2DModel)], LatentSpace.IfPresent),
    ];

    /// <summary>Names of the classes there are pipelines for.</summary>
    public static IReadOnlyList<string> Supported { get; } = [.. s_all.Select(one => one.Name)];

    /// <summary>The class of a folder.</summary>
    /// <exception cref="ModelFormatException">There is no such pipeline; the message lists those that are.</exception>
    public static PipelineClass Of(ModelFolder folder) =>
        s_all.FirstOrDefault(one => one.Name == folder.ClassName)
        ?? throw new ModelFormatException(folder.Index.File, "_class_name", $"expected one of {string.Join(", ", Supported)}, found {folder.ClassName}");

    /// <summary>Name of the autoencoder's component; null for a model that draws pixels.</summary>
    /// <exception cref="ModelFormatException">There is none and there should be.</exception>
    public string? Autoencoder(ModelFolder folder)
    {
        if (Latent == LatentSpace.Never) return null;
        string? found = s_autoencoders.FirstOrDefault(folder.Components.ContainsKey);
        if (found is null && Latent == LatentSpace.Always)
            throw new ModelFormatException(folder.Path, "model_index.json", $"expected a component '{string.Join("' or '", s_autoencoders)}', found {string.Join(", ", folder.Components.Keys)}");
        return found;
    }
}

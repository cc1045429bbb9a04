using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models;

/// <summary>What diffusers' <c>DiTTransformer2DModel</c> and <c>PixArtTransformer2DModel</c> have in common in their configurations.</summary>
internal sealed record TransformerConfig
{
    public required int Heads { get; init; }
    public required int HeadDim { get; init; }
    public required int Layers { get; init; }
    public required int InChannels { get; init; }
    public required int OutChannels { get; init; }
    public required int SampleSize { get; init; }
    public required int Patch { get; init; }
    public required bool AttentionBias { get; init; }
    public required ActivationKind Activation { get; init; }
    public required bool AffineNorms { get; init; }
    public required float NormEpsilon { get; init; }

    /// <summary>Channels of a token.</summary>
    public int Width => Heads * HeadDim;

    /// <summary>Reads the common settings.</summary>
    /// <param name="config">Configuration.</param>
    /// <param name="normType">The only kind of conditioning that the class has.</param>
    /// <param name="normEpsilon">Epsilon if the configuration has none.</param>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public static TransformerConfig Read(JsonConfig config, string normType, float normEpsilon)
    {
        ConfigValues.OneOf<bool>(config, "norm_type", normType, new() { [normType] = true });
        int inChannels = ConfigValues.Size(config, "in_channels", 4);
        return new TransformerConfig
        {
            Heads = ConfigValues.Count(config, "num_attention_heads", 16),
            HeadDim = ConfigValues.Size(config, "attention_head_dim", 72),
            Layers = ConfigValues.Count(config, "num_layers", 28),
            InChannels = inChannels,
            OutChannels = ConfigValues.OptionalSize(config, "out_channels") ?? inChannels,
            SampleSize = ConfigValues.Size(config, "sample_size"),
            Patch = ConfigValues.Size(config, "patch_size", 2, most: 64),
            AttentionBias = config.GetBool("attention_bias", true),
            Activation = ConfigValues.Activation(config, "activation_fn", "gelu-approximate"),
            AffineNorms = config.GetBool("norm_elementwise_affine", false),
            NormEpsilon = config.GetFloat("norm_eps", normEpsilon),
        };
    }
}

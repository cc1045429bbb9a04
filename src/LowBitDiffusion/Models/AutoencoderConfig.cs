using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>What diffusers' <c>AutoencoderKL</c> and <c>VQModel</c> have in common in their configurations.</summary>
internal sealed record AutoencoderConfig
{
    // Fixed in diffusers' autoencoders.
    private const float NormEpsilon = 1e-6f;

    private static readonly Dictionary<string, bool> DownBlocks = new() { ["DownEncoderBlock2D"] = false, ["AttnDownEncoderBlock2D"] = true };

    private static readonly Dictionary<string, bool> UpBlocks = new() { ["UpDecoderBlock2D"] = false, ["AttnUpDecoderBlock2D"] = true };

    public required int SampleHeight { get; init; }
    public required int SampleWidth { get; init; }
    public required int InChannels { get; init; }
    public required int OutChannels { get; init; }
    public required int LatentChannels { get; init; }
    public required IReadOnlyList<int> BlockOutChannels { get; init; }
    public required int LayersPerBlock { get; init; }
    public required IReadOnlyList<bool> DownAttention { get; init; }
    public required IReadOnlyList<bool> UpAttention { get; init; }
    public required bool HasMidAttention { get; init; }
    public required ResnetBlock2D Resnet { get; init; }

    /// <summary>Rows (and columns) of the image for each of the latent.</summary>
    public int Factor => 1 << (BlockOutChannels.Count - 1);

    /// <summary>Shape of a latent of the trained size.</summary>
    public TensorShape Latent(int batch, int channels) => new(batch, channels, Math.Max(SampleHeight / Factor, 1), Math.Max(SampleWidth / Factor, 1));

    /// <summary>Reads the common settings.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public static AutoencoderConfig Read(JsonConfig config)
    {
        int[] channels = ConfigValues.BlockChannels(config, [64]);
        (int height, int width) = ConfigValues.SampleSize(config, whenMissing: 32);
        return new AutoencoderConfig
        {
            SampleHeight = height,
            SampleWidth = width,
            InChannels = ConfigValues.Size(config, "in_channels", 3),
            OutChannels = ConfigValues.Size(config, "out_channels", 3),
            LatentChannels = ConfigValues.Size(config, "latent_channels", 4),
            BlockOutChannels = channels,
            LayersPerBlock = ConfigValues.Count(config, "layers_per_block", 1),
            DownAttention = Attentions(config, "down_block_types", DownBlocks, channels.Length),
            UpAttention = Attentions(config, "up_block_types", UpBlocks, channels.Length),
            HasMidAttention = config.GetBool("mid_block_add_attention", true),
            Resnet = new ResnetBlock2D
            {
                Groups = ConfigValues.Size(config, "norm_num_groups", 32),
                Epsilon = NormEpsilon,
                Activation = ConfigValues.Activation(config, "act_fn", "silu"),
            },
        };
    }

    private static bool[] Attentions(JsonConfig config, string key, Dictionary<string, bool> known, int count)
    {
        string[] names = config.GetStringArray(key, [known.Keys.First()]);
        if (names.Length != count) throw ConfigValues.Error(config, key, $"expected {count} blocks, one per entry of block_out_channels, found {names.Length}");
        return [.. names.Select(name => ConfigValues.Meaning(config, key, name, known))];
    }
}

using LowBitDiffusion.Formats;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>How a timestep becomes numbers.</summary>
internal enum TimeProjection
{
    /// <summary>Sines and cosines.</summary>
    Positional,
    /// <summary>Sines and cosines of stored random frequencies of its logarithm.</summary>
    Fourier,
    /// <summary>A row of a stored table.</summary>
    Learned,
}

/// <summary>What a label is before it is added to the time embedding.</summary>
internal enum ClassEmbedding
{
    /// <summary>There are no labels.</summary>
    None,
    /// <summary>A row of a stored table.</summary>
    Table,
    /// <summary>A number embedded like a timestep.</summary>
    Timestep,
    /// <summary>Already a vector.</summary>
    Identity,
    /// <summary>A vector that goes through layers of its own.</summary>
    Projection,
}

/// <summary>The settings of diffusers' <c>UNet2DModel</c> that change its arithmetic; defaults are diffusers'.</summary>
internal sealed record UNet2DConfig
{
    private static readonly Dictionary<string, UNet2DBlock> DownBlocks = new()
    {
        ["DownBlock2D"] = new(Attention: false, Resnet: false),
        ["AttnDownBlock2D"] = new(Attention: true, Resnet: null),
        ["ResnetDownsampleBlock2D"] = new(Attention: false, Resnet: true),
    };

    private static readonly Dictionary<string, UNet2DBlock> UpBlocks = new()
    {
        ["UpBlock2D"] = new(Attention: false, Resnet: false),
        ["AttnUpBlock2D"] = new(Attention: true, Resnet: null),
        ["ResnetUpsampleBlock2D"] = new(Attention: false, Resnet: true),
    };

    public required int InChannels { get; init; }
    public required int OutChannels { get; init; }
    public required bool CenterInputSample { get; init; }
    public required TimeProjection TimeProjection { get; init; }
    public required int TimeTableRows { get; init; }
    public required int TimeEmbeddingDim { get; init; }
    public required float FreqShift { get; init; }
    public required bool FlipSinToCos { get; init; }
    public required IReadOnlyList<UNet2DBlock> Down { get; init; }
    public required IReadOnlyList<UNet2DBlock> Up { get; init; }
    public required IReadOnlyList<int> BlockOutChannels { get; init; }
    public required int SampleHeight { get; init; }
    public required int SampleWidth { get; init; }
    public required bool HasMidBlock { get; init; }
    public required bool HasMidAttention { get; init; }
    public required float MidBlockScaleFactor { get; init; }
    public required int LayersPerBlock { get; init; }
    public required int DownsamplePadding { get; init; }
    public required int? AttentionHeadDim { get; init; }
    public required int? MidAttentionGroups { get; init; }
    public required ResnetBlock2D Resnet { get; init; }
    public required ClassEmbedding ClassEmbedding { get; init; }
    public required int ClassTableRows { get; init; }

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public static UNet2DConfig Read(JsonConfig config)
    {
        int[] channels = ConfigValues.BlockChannels(config);
        int groups = ConfigValues.Size(config, "norm_num_groups", 32);
        bool scaleShift = ConfigValues.OneOf<bool>(config, "resnet_time_scale_shift", "default", new() { ["default"] = false, ["scale_shift"] = true });
        TimeProjection projection = ConfigValues.OneOf<TimeProjection>(config, "time_embedding_type", "positional", new()
        {
            ["positional"] = TimeProjection.Positional,
            ["fourier"] = TimeProjection.Fourier,
            ["learned"] = TimeProjection.Learned,
        });
        int? classes = ConfigValues.OptionalSize(config, "num_class_embeds");
        (int height, int width) = ConfigValues.SampleSize(config, whenMissing: 32);
        UNet2DConfig result = new()
        {
            SampleHeight = height,
            SampleWidth = width,
            InChannels = ConfigValues.Size(config, "in_channels", 3),
            OutChannels = ConfigValues.Size(config, "out_channels", 3),
            CenterInputSample = config.GetBool("center_input_sample", false),
            TimeProjection = projection,
            TimeTableRows = projection == TimeProjection.Learned ? ConfigValues.Size(config, "num_train_timesteps") : 0,
            TimeEmbeddingDim = ConfigValues.OptionalSize(config, "time_embedding_dim") ?? 4 * channels[0],
            FreqShift = config.GetFloat("freq_shift", 0),
            FlipSinToCos = config.GetBool("flip_sin_to_cos", true),
            Down = Blocks(config, "down_block_types", DownBlocks, "downsample_type", channels.Length),
            Up = Blocks(config, "up_block_types", UpBlocks, "upsample_type", channels.Length),
            BlockOutChannels = channels,
            HasMidBlock = ConfigValues.OneOf<bool>(config, "mid_block_type", "UNetMidBlock2D", new() { ["UNetMidBlock2D"] = true }, whenNull: false),
            HasMidAttention = config.GetBool("add_attention", true),
            MidBlockScaleFactor = config.GetFloat("mid_block_scale_factor", 1),
            LayersPerBlock = ConfigValues.Count(config, "layers_per_block", 2),
            DownsamplePadding = ConfigValues.OneOfNumbers(config, "downsample_padding", 1, 0, 1),
            AttentionHeadDim = ConfigValues.OptionalSize(config, "attention_head_dim", 8),
            MidAttentionGroups = ConfigValues.OptionalSize(config, "attn_norm_num_groups") ?? (scaleShift ? null : groups),
            Resnet = new ResnetBlock2D
            {
                Groups = groups,
                Epsilon = config.GetFloat("norm_eps", 1e-5f),
                Activation = ConfigValues.Activation(config, "act_fn", "silu"),
                ScaleShift = scaleShift,
            },
            ClassEmbedding = ConfigValues.OneOf<ClassEmbedding>(
                config,
                "class_embed_type",
                whenMissing: null,
                new() { ["timestep"] = ClassEmbedding.Timestep, ["identity"] = ClassEmbedding.Identity },
                whenNull: classes is null ? ClassEmbedding.None : ClassEmbedding.Table),
            ClassTableRows = classes ?? 0,
        };
        ConfigValues.RejectUnknown(config, "dropout", "num_train_timesteps");
        return result;
    }

    /// <summary>Blocks by diffusers' names. Only the attention blocks obey the configuration's kind of resampling; the others have one of their own.</summary>
    private static UNet2DBlock[] Blocks(JsonConfig config, string key, Dictionary<string, UNet2DBlock> known, string resampleKey, int count)
    {
        bool resnet = ConfigValues.OneOf<bool>(config, resampleKey, "conv", new() { ["conv"] = false, ["resnet"] = true });
        string[] names = config.GetStringArray(key);
        if (names.Length != count) throw ConfigValues.Error(config, key, $"expected {count} blocks, one per entry of block_out_channels, found {names.Length}");
        return [.. names.Select(name => ConfigValues.Meaning(config, key, name, known)).Select(block => block with { Resnet = block.Resnet ?? resnet })];
    }
}

/// <summary>What tells diffusers' block classes of pixel UNets apart.</summary>
/// <param name="Attention">Whether an attention follows each ResNet.</param>
/// <param name="Resnet">Whether the size is changed by a ResNet (else by a convolution); null where the configuration says.</param>
internal sealed record UNet2DBlock(bool Attention, bool? Resnet);

using LowBitDiffusion.Formats;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>What is added to the time embedding besides the label.</summary>
internal enum AdditionEmbedding
{
    /// <summary>Nothing.</summary>
    None,
    /// <summary>SDXL's pooled text, sizes and crops.</summary>
    TextTime,
}

/// <summary>The settings of diffusers' <c>UNet2DConditionModel</c> that change its arithmetic; defaults are diffusers'. Lists per block are in the order of the down blocks.</summary>
internal sealed record UNet2DConditionConfig
{
    /// <summary>Sizes that SDXL is told: original, crop and target, two numbers each.</summary>
    public const int SizeIds = 6;

    private static readonly Dictionary<string, bool> DownBlocks = new() { ["CrossAttnDownBlock2D"] = true, ["DownBlock2D"] = false };

    private static readonly Dictionary<string, bool> UpBlocks = new() { ["CrossAttnUpBlock2D"] = true, ["UpBlock2D"] = false };

    public required int InChannels { get; init; }
    public required int SampleHeight { get; init; }
    public required int SampleWidth { get; init; }
    public required int OutChannels { get; init; }
    public required bool CenterInputSample { get; init; }
    public required int ConvInKernel { get; init; }
    public required int ConvOutKernel { get; init; }
    public required bool FlipSinToCos { get; init; }
    public required float FreqShift { get; init; }
    public required int TimeEmbeddingDim { get; init; }
    public required int? TimeConditionDim { get; init; }
    public required IReadOnlyList<int> BlockOutChannels { get; init; }
    public required IReadOnlyList<bool> DownAttention { get; init; }
    public required IReadOnlyList<bool> UpAttention { get; init; }
    public required bool HasMidBlock { get; init; }
    public required float MidBlockScaleFactor { get; init; }
    public required IReadOnlyList<int> LayersPerBlock { get; init; }
    public required IReadOnlyList<int> TransformerLayersPerBlock { get; init; }
    public required IReadOnlyList<int> Heads { get; init; }
    public required int CrossAttentionDim { get; init; }
    public required bool LinearProjection { get; init; }
    public required int DownsamplePadding { get; init; }
    public required ResnetBlock2D Resnet { get; init; }
    public required ClassEmbedding ClassEmbedding { get; init; }
    public required int ClassTableRows { get; init; }
    public required AdditionEmbedding Addition { get; init; }
    public required int AdditionTimeDim { get; init; }
    public required int ProjectionInputDim { get; init; }

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public static UNet2DConditionConfig Read(JsonConfig config)
    {
        int[] channels = ConfigValues.BlockChannels(config);
        int? classes = ConfigValues.OptionalSize(config, "num_class_embeds");
        AdditionEmbedding addition = ConfigValues.OneOf<AdditionEmbedding>(
            config, "addition_embed_type", whenMissing: null, new() { ["text_time"] = AdditionEmbedding.TextTime }, whenNull: AdditionEmbedding.None);
        ConfigValues.OneOf<bool>(config, "time_embedding_type", "positional", new() { ["positional"] = true });
        ConfigValues.OneOf<bool>(config, "attention_type", "default", new() { ["default"] = true });
        (int height, int width) = ConfigValues.SampleSize(config, whenMissing: 64);
        int[] crossAttentionDims = ConfigValues.SizePerBlock(config, "cross_attention_dim", channels.Length, 1280);
        if (crossAttentionDims.Any(dim => dim != crossAttentionDims[0])) throw ConfigValues.Error(config, "cross_attention_dim", "one width of text for all blocks is supported, found several");
        if (config.GetFloat("resnet_out_scale_factor", 1) is not 1 and float factor) throw ConfigValues.Error(config, "resnet_out_scale_factor", $"1 is supported, found {factor}");
        UNet2DConditionConfig result = new()
        {
            SampleHeight = height,
            SampleWidth = width,
            InChannels = ConfigValues.Size(config, "in_channels", 4),
            OutChannels = ConfigValues.Size(config, "out_channels", 4),
            CenterInputSample = config.GetBool("center_input_sample", false),
            ConvInKernel = ConfigValues.OneOfNumbers(config, "conv_in_kernel", 3, 1, 3, 5, 7),
            ConvOutKernel = ConfigValues.OneOfNumbers(config, "conv_out_kernel", 3, 1, 3, 5, 7),
            FlipSinToCos = config.GetBool("flip_sin_to_cos", true),
            FreqShift = config.GetFloat("freq_shift", 0),
            TimeEmbeddingDim = ConfigValues.OptionalSize(config, "time_embedding_dim") ?? 4 * channels[0],
            TimeConditionDim = ConfigValues.OptionalSize(config, "time_cond_proj_dim"),
            BlockOutChannels = channels,
            DownAttention = Attentions(config, "down_block_types", DownBlocks, channels.Length),
            UpAttention = Attentions(config, "up_block_types", UpBlocks, channels.Length),
            HasMidBlock = ConfigValues.OneOf<bool>(config, "mid_block_type", "UNetMidBlock2DCrossAttn", new() { ["UNetMidBlock2DCrossAttn"] = true }, whenNull: false),
            MidBlockScaleFactor = config.GetFloat("mid_block_scale_factor", 1),
            LayersPerBlock = ConfigValues.CountPerBlock(config, "layers_per_block", channels.Length, 2),
            TransformerLayersPerBlock = ConfigValues.CountPerBlock(config, "transformer_layers_per_block", channels.Length, 1),
            // Despite its name the number of heads.
            Heads = ConfigValues.CountPerBlock(config, "attention_head_dim", channels.Length, 8),
            CrossAttentionDim = crossAttentionDims[0],
            LinearProjection = config.GetBool("use_linear_projection", false),
            DownsamplePadding = ConfigValues.OneOfNumbers(config, "downsample_padding", 1, 0, 1),
            Resnet = new ResnetBlock2D
            {
                Groups = ConfigValues.Size(config, "norm_num_groups", 32),
                Epsilon = config.GetFloat("norm_eps", 1e-5f),
                Activation = ConfigValues.Activation(config, "act_fn", "silu"),
                ScaleShift = ConfigValues.OneOf<bool>(config, "resnet_time_scale_shift", "default", new() { ["default"] = false, ["scale_shift"] = true }),
            },
            ClassEmbedding = ConfigValues.OneOf<ClassEmbedding>(
                config,
                "class_embed_type",
                whenMissing: null,
                new() { ["timestep"] = ClassEmbedding.Timestep, ["identity"] = ClassEmbedding.Identity, ["projection"] = ClassEmbedding.Projection },
                whenNull: classes is null ? ClassEmbedding.None : ClassEmbedding.Table),
            ClassTableRows = classes ?? 0,
            Addition = addition,
            AdditionTimeDim = addition == AdditionEmbedding.TextTime ? ConfigValues.Size(config, "addition_time_embed_dim") : 0,
            ProjectionInputDim = ConfigValues.OptionalSize(config, "projection_class_embeddings_input_dim") ?? 0,
        };
        int leastProjection = addition == AdditionEmbedding.TextTime ? SizeIds * result.AdditionTimeDim + 1 : result.ClassEmbedding == ClassEmbedding.Projection ? 1 : 0;
        if (result.ProjectionInputDim < leastProjection)
            throw ConfigValues.Error(config, "projection_class_embeddings_input_dim", $"expected at least {leastProjection}, found {result.ProjectionInputDim}");
        ConfigValues.RejectUnknown(config, "dropout", "upcast_attention", "addition_embed_type_num_heads", "addition_time_embed_dim");
        return result;
    }

    private static bool[] Attentions(JsonConfig config, string key, Dictionary<string, bool> known, int count)
    {
        string[] names = config.GetStringArray(key);
        if (names.Length != count) throw ConfigValues.Error(config, key, $"expected {count} blocks, one per entry of block_out_channels, found {names.Length}");
        return [.. names.Select(name => ConfigValues.Meaning(config, key, name, known))];
    }
}

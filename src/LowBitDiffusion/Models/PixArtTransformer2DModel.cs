using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>
/// PixArt-α and -Σ (Chen et al. 2023): a DiT whose blocks share one conditioning (adaLN-single) and attend to a text. <c>sample</c> <c>[N, C, H, W]</c>, <c>timestep</c> <c>[N]</c>,
/// <c>encoder_hidden_states</c> <c>[N, L, D]</c> and, where the configuration has them, <c>resolution</c> <c>[N, 2]</c> and <c>aspect_ratio</c> <c>[N, 1]</c> to <c>sample</c>; with a learned
/// variance its second half of channels is the variance's logits. May be given: <c>encoder_attention_mask</c> <c>[N, L]</c> of ones and zeros.
/// <code>
///   h += gate_msa · attn1(norm1(h)·(1 + scale_msa) + shift_msa)
///   h += attn2(h, text)                                             not normalised
///   h += gate_mlp · ff(norm2(h)·(1 + scale_mlp) + shift_mlp)
/// </code>
/// The six vectors are the shared ones plus the block's <c>scale_shift_table</c>.
/// </summary>
public sealed class PixArtTransformer2DModel : INetwork
{
    private const int SinusoidFeatures = 256;

    // Height, width and aspect ratio share the embedding's channels.
    private const int SizesEmbedded = 3;
    private const float LastNormEpsilon = 1e-6f;

    // PixArt-alpha's pipeline pads every caption to this many tokens.
    private const int TextTokens = 120;

    private readonly TransformerConfig _config;
    private readonly int? _captionChannels;
    private readonly int _textChannels;
    private readonly bool _conditionedOnSize;
    private readonly float _interpolationScale;

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public PixArtTransformer2DModel(JsonConfig config)
    {
        ConfigValues.OneOf<bool>(config, "attention_type", "default", new() { ["default"] = true });
        _config = TransformerConfig.Read(config, "ada_norm_single", normEpsilon: 1e-6f);
        _captionChannels = ConfigValues.OptionalSize(config, "caption_channels");
        _textChannels = ConfigValues.OptionalSize(config, "cross_attention_dim") ?? _config.Width;
        _conditionedOnSize = config.GetNullableBool("use_additional_conditions") ?? _config.SampleSize == 128;
        _interpolationScale = config.GetNullableFloat("interpolation_scale") ?? Math.Max(_config.SampleSize / 64, 1);
        if (_conditionedOnSize && _config.Width % SizesEmbedded != 0)
            throw ConfigValues.Error(config, "use_additional_conditions", $"expected a width that divides among three sizes, found {_config.Width}");
        ConfigValues.RejectUnknown(config, "dropout", "norm_num_groups", "num_embeds_ada_norm", "upcast_attention");
    }

    /// <inheritdoc/>
    public string ClassName => nameof(PixArtTransformer2DModel);

    /// <inheritdoc/>
    public IReadOnlyList<string> InputNames =>
        ["sample", "timestep", "encoder_hidden_states", .. _conditionedOnSize ? (string[])["resolution", "aspect_ratio"] : []];

    /// <inheritdoc/>
    public IReadOnlyList<string> OptionalInputNames => ["encoder_attention_mask"];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch)
    {
        Dictionary<string, TensorShape> inputs = new()
        {
            ["sample"] = new(batch, _config.InChannels, _config.SampleSize, _config.SampleSize),
            ["timestep"] = new(batch),
            ["encoder_hidden_states"] = new(batch, TextTokens, _captionChannels ?? _textChannels),
        };
        if (_conditionedOnSize) (inputs["resolution"], inputs["aspect_ratio"]) = (new(batch, 2), new(batch, 1));
        return inputs;
    }

    /// <inheritdoc/>
    public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        GraphBuilder g = new();
        Node sample = g.Input("sample", inputs, Dependence.Sample, rank: 4, channels: _config.InChannels);
        Node text = g.Input("encoder_hidden_states", inputs, Dependence.Condition, rank: 3, channels: _captionChannels ?? _textChannels);
        Node? mask = Blocks.Attention.MaskBias(g, g.OptionalInput("encoder_attention_mask", inputs, Dependence.Condition, rank: 2));
        if (_captionChannels is not null) text = TimestepEmbedding.Write(g, "caption_projection", text, _config.Width, ActivationKind.GeluTanh);

        PatchEmbed patches = new() { Patch = _config.Patch, BaseSize = _config.SampleSize / _config.Patch, InterpolationScale = _interpolationScale };
        Node h = patches.Write(g, "pos_embed", sample, _config.Width);
        Node embedding = Embed(g, inputs);
        Node shared = g.Tap("adaln_single", g.Linear("adaln_single.linear", g.Silu(embedding), 6 * _config.Width));
        for (int i = 0; i < _config.Layers; i++) h = Block(g, $"transformer_blocks.{i}", h, shared, text, mask);

        Node[] table = Table(g, "scale_shift_table", rows: 2);
        h = g.Modulate(g.LayerNorm("norm_out", h, LastNormEpsilon, affine: false), scale: g.Add(embedding, table[1]), shift: g.Add(embedding, table[0]));
        h = g.Linear("proj_out", h, _config.Patch * _config.Patch * _config.OutChannels);
        g.Output("sample", g.Unpatchify(h, sample.Shape[2] / _config.Patch, sample.Shape[3] / _config.Patch, _config.Patch));
        return g.Build();
    }

    private Node Embed(GraphBuilder g, IReadOnlyDictionary<string, TensorShape> inputs)
    {
        const string name = "adaln_single.emb";
        Node timestep = g.Input("timestep", inputs, Dependence.Timestep, rank: 1);
        Node embedding = TimestepEmbedding.Write(g, $"{name}.timestep_embedder", Sinusoid(g, timestep), _config.Width);
        if (_conditionedOnSize)
        {
            Node resolution = EmbedSizes(g, $"{name}.resolution_embedder", g.Input("resolution", inputs, Dependence.Condition, rank: 2));
            Node aspectRatio = EmbedSizes(g, $"{name}.aspect_ratio_embedder", g.Input("aspect_ratio", inputs, Dependence.Condition, rank: 2));
            embedding = g.Add(embedding, g.Concat(resolution, aspectRatio));
        }

        return g.Tap(name, embedding);
    }

    /// <summary>Each number of <c>[N, K]</c> embedded in a third of the width: <c>[N, K·width/3]</c>.</summary>
    private Node EmbedSizes(GraphBuilder g, string name, Node sizes)
    {
        Node each = TimestepEmbedding.Write(g, name, Sinusoid(g, g.Reshape(sizes, new((int)sizes.Shape.Elements))), _config.Width / SizesEmbedded);
        return g.Reshape(each, new(sizes.Shape[0], sizes.Shape[1] * each.Shape[1]));
    }

    private static Node Sinusoid(GraphBuilder g, Node scalars) => g.TimestepEmbedding(scalars, SinusoidFeatures, cosineFirst: true, shift: 0);

    /// <summary>Rows of a stored table, each a vector for all images.</summary>
    private Node[] Table(GraphBuilder g, string name, int rows) => g.Chunk(g.Reshape(g.Parameter(name, new(rows, _config.Width)), new(1, rows * _config.Width)), rows);

    private Node Block(GraphBuilder g, string name, Node h, Node shared, Node text, Node? mask)
    {
        const int vectors = 6;
        Node table = g.Reshape(g.Parameter($"{name}.scale_shift_table", new(vectors, _config.Width)), new(1, vectors * _config.Width));
        Node[] own = g.Chunk(g.Add(shared, table), vectors);
        (Node shiftMsa, Node scaleMsa, Node gateMsa, Node shiftMlp, Node scaleMlp, Node gateMlp) = (own[0], own[1], own[2], own[3], own[4], own[5]);
        Attention attention = new(_config.Heads, _config.HeadDim, _config.AttentionBias);

        Node normed = g.Modulate(g.LayerNorm($"{name}.norm1", h, _config.NormEpsilon, _config.AffineNorms), scaleMsa, shiftMsa);
        h = g.Add(g.Multiply(attention.Write(g, $"{name}.attn1", normed), gateMsa), h);
        h = g.Add(attention.Write(g, $"{name}.attn2", h, text, mask), h);
        normed = g.Modulate(g.LayerNorm($"{name}.norm2", h, _config.NormEpsilon, _config.AffineNorms), scaleMlp, shiftMlp);
        return g.Tap(name, g.Add(g.Multiply(FeedForward.Write(g, $"{name}.ff", normed, _config.Activation), gateMlp), h));
    }
}

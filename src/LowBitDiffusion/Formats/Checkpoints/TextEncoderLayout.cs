using System.Text.Json.Nodes;

namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>
/// The text encoders of Stable Diffusion: CLIP as transformers names it (1.x, XL's first) and as open_clip does (2.x, XL's second), where queries, keys and values are one matrix
/// and the projection is stored for a multiplication from the right.
/// </summary>
internal sealed class TextEncoderLayout
{
    private const int HeadWidth = 64;

    // Stable Diffusion 2 reads the state before the last layer; diffusers' configuration of it ends there. Files hold OpenCLIP's 24 layers, some only those 23.
    private const int LayersWithoutLast = 23;

    private static readonly NameRule[] s_transformers =
    [
        new("transformer.text_model.*", "text_model.*"),
        new("transformer.embeddings.*", "text_model.embeddings.*"),
        new("transformer.encoder.*", "text_model.encoder.*"),
        new("transformer.final_layer_norm.*", "text_model.final_layer_norm.*"),
    ];

    private static readonly (string Old, string New, TensorChange Change)[] s_openClipLayer =
    [
        ("ln_1.*", "layer_norm1.*", TensorChange.None),
        ("ln_2.*", "layer_norm2.*", TensorChange.None),
        ("attn.in_proj_weight", "self_attn.q_proj.weight", TensorChange.FirstThird),
        ("attn.in_proj_weight", "self_attn.k_proj.weight", TensorChange.SecondThird),
        ("attn.in_proj_weight", "self_attn.v_proj.weight", TensorChange.LastThird),
        ("attn.in_proj_bias", "self_attn.q_proj.bias", TensorChange.FirstThird),
        ("attn.in_proj_bias", "self_attn.k_proj.bias", TensorChange.SecondThird),
        ("attn.in_proj_bias", "self_attn.v_proj.bias", TensorChange.LastThird),
        ("attn.out_proj.*", "self_attn.out_proj.*", TensorChange.None),
        ("mlp.c_fc.*", "mlp.fc1.*", TensorChange.None),
        ("mlp.c_proj.*", "mlp.fc2.*", TensorChange.None),
    ];

    private static readonly NameRule[] s_openClip =
    [
        new("model.token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        new("model.positional_embedding", "text_model.embeddings.position_embedding.weight"),
        new("model.ln_final.*", "text_model.final_layer_norm.*"),
    ];

    private readonly string _origin, _tokens, _positions, _inner;
    private readonly IReadOnlyDictionary<string, TensorInfo> _tensors;
    private readonly bool _openClip, _projection;
    private readonly int _layers;

    /// <summary>Reads the layout off the names.</summary>
    /// <param name="origin">The file, for messages.</param>
    /// <param name="tensors">The encoder's tensors without the prefix that all have.</param>
    /// <param name="projection">Whether the pooled text is projected: XL's second encoder.</param>
    public TextEncoderLayout(string origin, IReadOnlyDictionary<string, TensorInfo> tensors, bool projection)
    {
        (_origin, _tensors, _projection) = (origin, tensors, projection);
        _openClip = IsOpenClip(tensors);
        string transformers = tensors.ContainsKey("transformer.text_model.final_layer_norm.weight") ? "transformer.text_model" : "transformer";
        (string layers, string first, _tokens, _positions, _inner) = _openClip
            ? ("model.transformer.resblocks", "ln_1", "model.token_embedding.weight", "model.positional_embedding", "mlp.c_fc.weight")
            : ($"{transformers}.encoder.layers", "layer_norm1", $"{transformers}.embeddings.token_embedding.weight", $"{transformers}.embeddings.position_embedding.weight", "mlp.fc1.weight");
        while (tensors.ContainsKey($"{layers}.{_layers}.{first}.weight")) _layers++;
        _inner = $"{layers}.0.{_inner}";
        if (!_openClip)
        {
            (Rules, Ignored) = (s_transformers, ["transformer.text_projection.weight"]);
            return;
        }

        bool dropLast = !projection && _layers != LayersWithoutLast;
        if (dropLast) _layers--;
        Ignored = projection ? [] : dropLast ? ["model.text_projection", $"{layers}.{_layers}.*"] : ["model.text_projection"];
        Rules =
        [
            .. s_openClip,
            .. projection ? (NameRule[])[new("model.text_projection", "text_projection.weight", TensorChange.Transpose)] : [],
            .. from i in Enumerable.Range(0, _layers)
               from part in s_openClipLayer
               select new NameRule($"{layers}.{i}.{part.Old}", $"text_model.encoder.layers.{i}.{part.New}", part.Change),
        ];
    }

    /// <summary>The table from the original names to diffusers'.</summary>
    public IReadOnlyList<NameRule> Rules { get; }

    /// <summary>Names, as globs, of what the encoder of a diffusion does not have.</summary>
    public IReadOnlyList<string> Ignored { get; }

    /// <summary>Channels of the text.</summary>
    public int Width => Extent(_tokens, 1);

    /// <summary>Features of the projected text, or 0.</summary>
    public int ProjectionWidth => _projection ? Extent("model.text_projection", 1) : 0;

    /// <summary>Whether an encoder has open_clip's names.</summary>
    public static bool IsOpenClip(IReadOnlyDictionary<string, TensorInfo> tensors) => tensors.ContainsKey("model.ln_final.weight");

    /// <summary>Sets what the shapes say in a published model's <c>config.json</c>.</summary>
    public void Configure(JsonObject config)
    {
        config["vocab_size"] = Extent(_tokens, 0);
        config["max_position_embeddings"] = Extent(_positions, 0);
        config["hidden_size"] = Width;
        config["intermediate_size"] = Extent(_inner, 0);
        config["num_hidden_layers"] = _layers;
        config["num_attention_heads"] = Math.Max(Width / HeadWidth, 1);
        if (_projection) config["projection_dim"] = ProjectionWidth;
    }

    private int Extent(string name, int axis) => _tensors.Extent(_origin, name, axis);
}

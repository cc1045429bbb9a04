using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models;

/// <summary>
/// CLIP's text encoder (Radford et al. 2021), with or without projection: <c>input_ids</c> <c>[N, L]</c> to <c>last_hidden_state</c>, <c>hidden_states.0</c> (the embeddings) and every layer's
/// <c>hidden_states.i</c> before the final norm, <c>penultimate_hidden_state</c>, <c>pooled</c>, and <c>text_embeds</c> <c>[N, P]</c> with projection.
/// <see cref="Graph.Select"/> takes the outputs that are wanted.
/// </summary>
public sealed class ClipTextModel : INetwork
{
    /// <summary>The class without projection.</summary>
    public const string PlainClass = "CLIPTextModel";

    /// <summary>The class with projection.</summary>
    public const string ProjectionClass = "CLIPTextModelWithProjection";

    // Configurations of the first models have this id by mistake; the token with the largest id is meant, which is the end token.
    private const int MistakenEndToken = 2;

    private readonly int _vocabulary, _positions, _width, _innerWidth, _layers, _heads, _projection;
    private readonly float _epsilon;
    private readonly ActivationKind _activation;
    private readonly int? _endToken;

    // Names begin with this; files may have the other spelling (see LegacyNames).
    private readonly string _prefix;

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <param name="config">Configuration.</param>
    /// <param name="withProjection">Whether the pooled token is projected.</param>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public ClipTextModel(JsonConfig config, bool withProjection)
    {
        ClassName = withProjection ? ProjectionClass : PlainClass;
        _prefix = withProjection ? "text_model." : "";
        ConfigValues.OneOf<bool>(config, "model_type", "clip_text_model", new() { ["clip_text_model"] = true });
        _vocabulary = ConfigValues.Size(config, "vocab_size", 49408, most: 1 << 24);
        _positions = ConfigValues.Size(config, "max_position_embeddings", 77);
        _width = ConfigValues.Size(config, "hidden_size", 512);
        _innerWidth = ConfigValues.Size(config, "intermediate_size", 2048);
        _layers = ConfigValues.Count(config, "num_hidden_layers", 12);
        _heads = ConfigValues.Count(config, "num_attention_heads", 8);
        _projection = ConfigValues.Size(config, "projection_dim", 512);
        _epsilon = config.GetFloat("layer_norm_eps", 1e-5f);
        _activation = ConfigValues.Activation(config, "hidden_act", "quick_gelu");
        int endToken = config.GetInt("eos_token_id", 49407);
        _endToken = endToken == MistakenEndToken ? null : endToken;
        ConfigValues.RejectUnknown(
            config, "attention_dropout", "dropout", "bos_token_id", "pad_token_id", "dtype", "torch_dtype", "initializer_factor", "initializer_range", "transformers_version");
    }

    /// <inheritdoc/>
    public string ClassName { get; }

    /// <inheritdoc/>
    public IReadOnlyList<string> InputNames => ["input_ids"];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch) => new Dictionary<string, TensorShape> { ["input_ids"] = new(batch, _positions) };

    /// <summary>All that pipelines read.</summary>
    public IReadOnlyList<string> MainOutputs => ["penultimate_hidden_state", "last_hidden_state", .. ClassName == ProjectionClass ? ["text_embeds"] : Array.Empty<string>()];

    /// <summary>Tokens there are embeddings of.</summary>
    public int VocabularySize => _vocabulary;

    /// <summary>Most tokens of a text.</summary>
    public int MaxLength => _positions;

    /// <summary>Files have all names but the projection's with or without the prefix, depending on the library's version that wrote them.</summary>
    public IEnumerable<string> LegacyNames(string name) =>
        _prefix.Length == 0 ? [$"text_model.{name}"] : name.StartsWith(_prefix, StringComparison.Ordinal) ? [name[_prefix.Length..]] : [];

    /// <inheritdoc/>
    public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        GraphBuilder g = new();
        Node ids = g.Input("input_ids", inputs, Dependence.Condition, rank: 2);
        int length = ids.Shape[1];
        if (length > _positions) throw new GraphException("input_ids", $"expected at most {_positions} tokens, found {length}");

        Node places = g.Constant("positions", new(1, length), [.. Enumerable.Range(0, length).Select(i => (float)i)]);
        Node h = g.Tap($"{_prefix}embeddings", g.Add(
            g.Embedding($"{_prefix}embeddings.token_embedding", ids, _vocabulary, _width),
            g.Embedding($"{_prefix}embeddings.position_embedding", places, _positions, _width)));
        for (int i = 0; i < _layers; i++)
        {
            g.Output($"hidden_states.{i}", h);
            if (i == _layers - 1) g.Output("penultimate_hidden_state", h);
            h = Layer(g, $"{_prefix}encoder.layers.{i}", h);
        }

        g.Output($"hidden_states.{_layers}", h);
        h = g.LayerNorm($"{_prefix}final_layer_norm", h, _epsilon);
        g.Output("last_hidden_state", h);
        Node pooled = g.SelectToken(h, ids, _endToken);
        g.Output("pooled", pooled);
        if (ClassName == ProjectionClass) g.Output("text_embeds", g.Linear("text_projection", pooled, _projection, bias: false));
        return g.Build();
    }

    private Node Layer(GraphBuilder g, string name, Node h)
    {
        Node normed = g.LayerNorm($"{name}.layer_norm1", h, _epsilon);
        Node q = g.Linear($"{name}.self_attn.q_proj", normed, _width);
        Node k = g.Linear($"{name}.self_attn.k_proj", normed, _width);
        Node v = g.Linear($"{name}.self_attn.v_proj", normed, _width);
        Node attention = g.Linear($"{name}.self_attn.out_proj", g.Attention(q, k, v, _heads, causal: true), _width);
        h = g.Add(g.Tap($"{name}.self_attn", attention), h);

        Node inner = g.Activation(_activation, g.Linear($"{name}.mlp.fc1", g.LayerNorm($"{name}.layer_norm2", h, _epsilon), _innerWidth));
        return g.Tap(name, g.Add(g.Tap($"{name}.mlp", g.Linear($"{name}.mlp.fc2", inner, _width)), h));
    }
}

using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>
/// DiT with adaLN-zero (Peebles and Xie 2023): <c>sample</c> <c>[N, C, H, W]</c>, <c>timestep</c> <c>[N]</c>, <c>class_labels</c> <c>[N]</c> (the last row of the label table is the null
/// class) to <c>sample</c>; with a learned variance its second half of channels is the variance's logits.
/// Each block owns an embedding of timestep and label, and from it six vectors:
/// <code>
///   h += gate_msa · attn1(norm1(h)·(1 + scale_msa) + shift_msa)
///   h += gate_mlp · ff(norm3(h)·(1 + scale_mlp) + shift_mlp)
/// </code>
/// </summary>
public sealed class DiTTransformer2DModel : INetwork
{
    private const int SinusoidFeatures = 256;

    // Of the modulated norms that have no weights; fixed in diffusers.
    private const float Norm1Epsilon = 1e-6f;

    private readonly TransformerConfig _config;
    private readonly int _labels;

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public DiTTransformer2DModel(JsonConfig config)
    {
        _config = TransformerConfig.Read(config, "ada_norm_zero", normEpsilon: 1e-5f);
        _labels = ConfigValues.Size(config, "num_embeds_ada_norm", 1000);
        ConfigValues.RejectUnknown(config, "dropout", "norm_num_groups", "upcast_attention");
    }

    /// <inheritdoc/>
    public string ClassName => nameof(DiTTransformer2DModel);

    /// <inheritdoc/>
    public IReadOnlyList<string> InputNames => ["sample", "timestep", "class_labels"];

    /// <inheritdoc/>
    public int ClassLabels => _labels + 1;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch) => new Dictionary<string, TensorShape>
    {
        ["sample"] = new(batch, _config.InChannels, _config.SampleSize, _config.SampleSize),
        ["timestep"] = new(batch),
        ["class_labels"] = new(batch),
    };

    /// <inheritdoc/>
    public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        GraphBuilder g = new();
        Node sample = g.Input("sample", inputs, Dependence.Sample, rank: 4, channels: _config.InChannels);
        Node timestep = g.Input("timestep", inputs, Dependence.Timestep, rank: 1);
        Node labels = g.Input("class_labels", inputs, Dependence.Condition, rank: 1);
        PatchEmbed patches = new() { Patch = _config.Patch, BaseSize = _config.SampleSize / _config.Patch };
        Node h = patches.Write(g, "pos_embed", sample, _config.Width);
        Node sinusoid = g.TimestepEmbedding(timestep, SinusoidFeatures, cosineFirst: true, shift: 1);
        Node? firstEmbedding = null;
        for (int i = 0; i < _config.Layers; i++)
        {
            string block = $"transformer_blocks.{i}";
            Node embedding = Embed(g, $"{block}.norm1.emb", sinusoid, labels);
            firstEmbedding ??= embedding;
            h = Block(g, block, h, embedding);
        }

        // The output is conditioned by the first block's embedding.
        Node[] shiftScale = g.Chunk(g.Linear("proj_out_1", g.Silu(firstEmbedding!), 2 * _config.Width), 2);
        h = g.Modulate(g.LayerNorm("norm_out", h, Norm1Epsilon, affine: false), scale: shiftScale[1], shift: shiftScale[0]);
        h = g.Linear("proj_out_2", h, _config.Patch * _config.Patch * _config.OutChannels);
        g.Output("sample", g.Unpatchify(h, sample.Shape[2] / _config.Patch, sample.Shape[3] / _config.Patch, _config.Patch));
        return g.Build();
    }

    private Node Embed(GraphBuilder g, string name, Node sinusoid, Node labels) => g.Tap(name, g.Add(
        TimestepEmbedding.Write(g, $"{name}.timestep_embedder", sinusoid, _config.Width),
        g.Embedding($"{name}.class_embedder.embedding_table", labels, _labels + 1, _config.Width)));

    private Node Block(GraphBuilder g, string name, Node h, Node embedding)
    {
        Node[] vectors = g.Chunk(g.Linear($"{name}.norm1.linear", g.Silu(embedding), 6 * _config.Width), 6);
        (Node shiftMsa, Node scaleMsa, Node gateMsa, Node shiftMlp, Node scaleMlp, Node gateMlp) = (vectors[0], vectors[1], vectors[2], vectors[3], vectors[4], vectors[5]);

        Node normed = g.LayerNorm($"{name}.norm1.norm", h, Norm1Epsilon, affine: false);
        normed = g.Tap($"{name}.norm1", g.Modulate(normed, scaleMsa, shiftMsa));
        Node attention = new Attention(_config.Heads, _config.HeadDim, _config.AttentionBias).Write(g, $"{name}.attn1", normed);
        h = g.Add(g.Multiply(attention, gateMsa), h);

        normed = g.Modulate(g.LayerNorm($"{name}.norm3", h, _config.NormEpsilon, _config.AffineNorms), scaleMlp, shiftMlp);
        return g.Tap(name, g.Add(g.Multiply(FeedForward.Write(g, $"{name}.ff", normed, _config.Activation), gateMlp), h));
    }
}

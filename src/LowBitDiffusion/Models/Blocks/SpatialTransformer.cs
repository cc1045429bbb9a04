using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>
/// Transformer over the pixels of an image with cross-attention to a text (Rombach et al. 2022), diffusers' <c>Transformer2DModel</c>:
/// <code>
///   x ─ norm ─ proj_in ─ transformer_blocks.* ─ proj_out ─ + x
///                         h += attn1(norm1 h);  h += attn2(norm2 h, text);  h += ff(norm3 h)
/// </code>
/// </summary>
internal sealed record SpatialTransformer
{
    // Fixed in diffusers, whatever the network's own epsilon.
    private const float GroupNormEpsilon = 1e-6f, LayerNormEpsilon = 1e-5f;

    /// <summary>Groups of the normalisation.</summary>
    public required int Groups { get; init; }

    /// <summary>Attention heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Transformer blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>Whether the projections around the blocks are linear layers over tokens, not 1×1 convolutions.</summary>
    public required bool LinearProjection { get; init; }

    /// <summary>Writes the module down.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The module's name.</param>
    /// <param name="x"><c>[N, C, H, W]</c>.</param>
    /// <param name="text"><c>[N, L, D]</c>.</param>
    /// <param name="textMask">Added to the cross-attention's products, <c>[N, L]</c>, or null.</param>
    public Node Write(GraphBuilder g, string name, Node x, Node text, Node? textMask)
    {
        int channels = x.Shape.Channels, height = x.Shape[2], width = x.Shape[3], headDim = channels / Heads;
        if (headDim == 0) throw new GraphException(name, $"{channels} channels cannot be divided into {Heads} heads");
        Node h = g.GroupNorm($"{name}.norm", x, Groups, GroupNormEpsilon);
        h = LinearProjection
            ? g.Linear($"{name}.proj_in", g.ToTokens(h), Heads * headDim)
            : g.ToTokens(g.Conv2d($"{name}.proj_in", h, Heads * headDim, kernel: 1));
        for (int i = 0; i < Layers; i++) h = Block(g, $"{name}.transformer_blocks.{i}", h, text, textMask, new Attention(Heads, headDim, Bias: false));
        return g.Tap(name, LinearProjection
            ? g.ToImage(g.Add(g.Linear($"{name}.proj_out", h, channels), g.ToTokens(x)), height, width)
            : g.Add(g.Conv2d($"{name}.proj_out", g.ToImage(h, height, width), channels, kernel: 1), x));
    }

    private static Node Block(GraphBuilder g, string name, Node h, Node text, Node? textMask, Attention attention)
    {
        h = g.Add(attention.Write(g, $"{name}.attn1", g.LayerNorm($"{name}.norm1", h, LayerNormEpsilon)), h);
        h = g.Add(attention.Write(g, $"{name}.attn2", g.LayerNorm($"{name}.norm2", h, LayerNormEpsilon), text, textMask), h);
        return g.Tap(name, g.Add(FeedForward.Write(g, $"{name}.ff", g.LayerNorm($"{name}.norm3", h, LayerNormEpsilon), activation: null), h));
    }
}

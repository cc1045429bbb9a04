using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>Self-attention over the pixels of an image: group norm, biased projections, residual, division by a factor.</summary>
internal sealed record AttentionBlock
{
    /// <summary>Channels of one head; null for one head over all channels.</summary>
    public int? HeadDim { get; init; }

    /// <summary>Groups of the normalisation; null for none.</summary>
    public int? Groups { get; init; }

    /// <summary>Epsilon of the normalisation.</summary>
    public required float Epsilon { get; init; }

    /// <summary>Divisor of the sum of attention and residual.</summary>
    public float OutputScaleFactor { get; init; } = 1;

    /// <summary>Writes the block down; <paramref name="x"/> is <c>[N, C, H, W]</c>.</summary>
    public Node Write(GraphBuilder g, string name, Node x)
    {
        int headDim = HeadDim ?? x.Shape.Channels;
        int heads = x.Shape.Channels / headDim;
        if (heads == 0) throw new GraphException(name, $"{x.Shape.Channels} channels are fewer than the {headDim} of one head");
        Node tokens = g.ToTokens(Groups is { } groups ? g.GroupNorm($"{name}.group_norm", x, groups, Epsilon) : x);
        Node h = new Attention(heads, headDim, Bias: true).Write(g, name, tokens);
        h = g.Affine(g.Add(h, g.ToTokens(x)), 1 / OutputScaleFactor);
        return g.Tap(name, g.ToImage(h, x.Shape[2], x.Shape[3]));
    }
}

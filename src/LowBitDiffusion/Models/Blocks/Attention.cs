using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>Multi-head attention between sequences of tokens (Vaswani et al. 2017), under diffusers' names: <c>to_q</c>, <c>to_k</c>, <c>to_v</c>, <c>to_out.0</c>.</summary>
/// <param name="Heads">Heads.</param>
/// <param name="HeadDim">Channels of one head.</param>
/// <param name="Bias">Whether queries, keys and values have a bias; the output always has one.</param>
internal sealed record Attention(int Heads, int HeadDim, bool Bias)
{
    /// <summary>Writes the module down, without a residual.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The module's name.</param>
    /// <param name="x">Tokens <c>[N, L, C]</c> that ask.</param>
    /// <param name="context">Tokens <c>[N, K, D]</c> that are asked; null for <paramref name="x"/> itself.</param>
    /// <param name="mask">Added to the products before the softmax, <c>[N, K]</c>, or null.</param>
    public Node Write(GraphBuilder g, string name, Node x, Node? context = null, Node? mask = null)
    {
        Node asked = context ?? x;
        Node q = g.Linear($"{name}.to_q", x, Heads * HeadDim, Bias);
        Node k = g.Linear($"{name}.to_k", asked, Heads * HeadDim, Bias);
        Node v = g.Linear($"{name}.to_v", asked, Heads * HeadDim, Bias);
        return g.Tap(name, g.Linear($"{name}.to_out.0", g.Attention(q, k, v, Heads, mask: mask), x.Shape.Channels));
    }

    /// <summary>What is added for a mask of ones (seen) and zeros: −10000 where it is zero, not minus infinity, as diffusers has it.</summary>
    public static Node? MaskBias(GraphBuilder g, Node? mask) => mask is null ? null : g.Affine(mask, 10000, -10000);
}

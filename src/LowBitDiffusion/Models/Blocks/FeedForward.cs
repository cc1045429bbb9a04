using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>The feed-forward of a transformer block, four times as wide inside: <c>net.0.proj</c>, activation, <c>net.2</c>.</summary>
internal static class FeedForward
{
    private const int Expansion = 4;

    /// <summary>Writes the module down, without a residual.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The module's name.</param>
    /// <param name="x">Tokens <c>[N, L, C]</c>.</param>
    /// <param name="activation">Activation; null for GEGLU (Shazeer 2020), whose first layer is twice as wide.</param>
    public static Node Write(GraphBuilder g, string name, Node x, ActivationKind? activation)
    {
        int channels = x.Shape.Channels, width = Expansion * channels;
        Node h = activation is { } kind
            ? g.Activation(kind, g.Linear($"{name}.net.0.proj", x, width))
            : g.Geglu(g.Linear($"{name}.net.0.proj", x, 2 * width));
        return g.Tap(name, g.Linear($"{name}.net.2", h, channels));
    }
}

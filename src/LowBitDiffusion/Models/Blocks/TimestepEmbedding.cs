using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>Two linear layers with an activation between them, as every network embeds its timestep.</summary>
internal static class TimestepEmbedding
{
    /// <summary>Writes the layers down; <paramref name="x"/> is <c>[N, D]</c>, the result <c>[N, features]</c>.</summary>
    public static Node Write(GraphBuilder g, string name, Node x, int features, ActivationKind activation = ActivationKind.Silu)
    {
        Node h = g.Activation(activation, g.Linear($"{name}.linear_1", x, features));
        return g.Tap(name, g.Linear($"{name}.linear_2", h, features));
    }
}

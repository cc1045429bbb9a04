using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>What a ResNet block does to the size of its image.</summary>
internal enum Resampling
{
    /// <summary>Nothing.</summary>
    None,
    /// <summary>2×2 mean.</summary>
    Down,
    /// <summary>Nearest neighbour, twice the size.</summary>
    Up,
}

/// <summary>
/// ResNet block of diffusion UNets and autoencoders (Ho et al. 2020; with scale and shift as in Dhariwal and Nichol 2021):
/// <code>
///   x ─ norm1 ─ act ─ (resample) ─ conv1 ─ + time ─ norm2 ─ act ─ conv2 ─ + ─ / OutputScaleFactor
///   └──────────────── (resample) ─ (conv_shortcut) ──────────────────────┘
/// </code>
/// With <see cref="ScaleShift"/> the time modulates the result of norm2 instead of being added before it.
/// </summary>
internal sealed record ResnetBlock2D
{
    /// <summary>Groups of both normalisations.</summary>
    public required int Groups { get; init; }

    /// <summary>Epsilon of both normalisations.</summary>
    public required float Epsilon { get; init; }

    /// <summary>Activation after both normalisations.</summary>
    public ActivationKind Activation { get; init; } = ActivationKind.Silu;

    /// <summary>Whether the time embedding scales and shifts instead of being added.</summary>
    public bool ScaleShift { get; init; }

    /// <summary>Divisor of the sum of branch and shortcut.</summary>
    public float OutputScaleFactor { get; init; } = 1;

    /// <summary>Change of size.</summary>
    public Resampling Resampling { get; init; }

    /// <summary>Writes the block down.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The block's name.</param>
    /// <param name="x"><c>[N, C, H, W]</c>.</param>
    /// <param name="time">Activated time embedding <c>[N, D]</c>, or null for a block without.</param>
    /// <param name="outChannels">Channels of the result.</param>
    public Node Write(GraphBuilder g, string name, Node x, Node? time, int outChannels)
    {
        Node h = Resample(g, g.Activation(Activation, g.GroupNorm($"{name}.norm1", x, Groups, Epsilon)));
        h = g.Conv2d($"{name}.conv1", h, outChannels, kernel: 3);
        Node? projected = time is null ? null : g.Linear($"{name}.time_emb_proj", time, ScaleShift ? 2 * outChannels : outChannels);
        if (projected is not null && !ScaleShift) h = g.Add(h, projected);
        h = g.GroupNorm($"{name}.norm2", h, Groups, Epsilon);
        if (projected is not null && ScaleShift)
        {
            Node[] scaleAndShift = g.Chunk(projected, 2);
            h = g.Modulate(h, scaleAndShift[0], scaleAndShift[1]);
        }

        h = g.Conv2d($"{name}.conv2", g.Activation(Activation, h), outChannels, kernel: 3);
        Node shortcut = Resample(g, x);
        if (shortcut.Shape.Channels != outChannels) shortcut = g.Conv2d($"{name}.conv_shortcut", shortcut, outChannels, kernel: 1);
        return g.Tap(name, g.Affine(g.Add(h, shortcut), 1 / OutputScaleFactor));
    }

    private Node Resample(GraphBuilder g, Node x) => Resampling switch
    {
        Resampling.Down => g.AveragePool(x),
        Resampling.Up => g.Upsample(x, 2 * x.Shape[2], 2 * x.Shape[3]),
        _ => x,
    };
}

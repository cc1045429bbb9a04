using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>Changes of size by a convolution: diffusers' <c>Downsample2D</c> and <c>Upsample2D</c>.</summary>
internal static class Resample2D
{
    /// <summary>3×3 convolution with stride 2.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The module's name.</param>
    /// <param name="x"><c>[N, C, H, W]</c>.</param>
    /// <param name="padding">Zeros on every side; 0 stands for one column on the right and one row below.</param>
    public static Node Down(GraphBuilder g, string name, Node x, int padding)
    {
        Padding zeros = padding == 0 ? new Padding(Top: 0, Left: 0, Bottom: 1, Right: 1) : Padding.Same(padding);
        return g.Tap(name, g.Conv2d($"{name}.conv", x, x.Shape.Channels, kernel: 3, stride: 2, zeros));
    }

    /// <summary>Nearest neighbour to a size, then a 3×3 convolution.</summary>
    public static Node Up(GraphBuilder g, string name, Node x, int height, int width) =>
        g.Tap(name, g.Conv2d($"{name}.conv", g.Upsample(x, height, width), x.Shape.Channels, kernel: 3));
}

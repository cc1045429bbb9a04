using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>A module written under a name: reads an image, returns one.</summary>
internal delegate Node ImageModule(string name, Node x);

/// <summary>
/// The three kinds of block of every UNet and autoencoder. What differs between diffusers' block classes is which ResNet, whether there is an attention after
/// each ResNet, and how the size changes at the end; those are given.
/// </summary>
internal static class UNetBlocks
{
    /// <summary>ResNets, each followed by an attention if there is one, then a downsampler if there is one.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The block's name.</param>
    /// <param name="x"><c>[N, C, H, W]</c>.</param>
    /// <param name="time">Activated time embedding, or null.</param>
    /// <param name="layers">How many ResNets.</param>
    /// <param name="outChannels">Channels of the result.</param>
    /// <param name="resnet">Their kind.</param>
    /// <param name="attention">Attention, or null.</param>
    /// <param name="downsample">Downsampler, or null.</param>
    /// <param name="skips">Receives every ResNet's (and attention's) result and the downsampler's; null where nothing is kept.</param>
    public static Node Down(
        GraphBuilder g, string name, Node x, Node? time, int layers, int outChannels, ResnetBlock2D resnet, ImageModule? attention, ImageModule? downsample, Stack<Node>? skips)
    {
        for (int i = 0; i < layers; i++)
        {
            x = resnet.Write(g, $"{name}.resnets.{i}", x, time, outChannels);
            if (attention is not null) x = attention($"{name}.attentions.{i}", x);
            skips?.Push(x);
        }

        if (downsample is not null)
        {
            x = downsample($"{name}.downsamplers.0", x);
            skips?.Push(x);
        }

        return g.Tap(name, x);
    }

    /// <summary>ResNet, then pairs of attention and ResNet; two ResNets alone without an attention.</summary>
    public static Node Mid(GraphBuilder g, string name, Node x, Node? time, ResnetBlock2D resnet, ImageModule? attention)
    {
        x = resnet.Write(g, $"{name}.resnets.0", x, time, x.Shape.Channels);
        if (attention is not null) x = attention($"{name}.attentions.0", x);
        return g.Tap(name, resnet.Write(g, $"{name}.resnets.1", x, time, x.Shape.Channels));
    }

    /// <summary>ResNets over the hidden state concatenated with a skip, each followed by an attention if there is one, then an upsampler if there is one.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The block's name.</param>
    /// <param name="x"><c>[N, C, H, W]</c>.</param>
    /// <param name="time">Activated time embedding, or null.</param>
    /// <param name="layers">How many ResNets.</param>
    /// <param name="outChannels">Channels of the result.</param>
    /// <param name="resnet">Their kind.</param>
    /// <param name="attention">Attention, or null.</param>
    /// <param name="upsample">Upsampler, or null.</param>
    /// <param name="skips">Gives one skip per ResNet, the latest first; null for a decoder without skips.</param>
    public static Node Up(
        GraphBuilder g, string name, Node x, Node? time, int layers, int outChannels, ResnetBlock2D resnet, ImageModule? attention, ImageModule? upsample, Stack<Node>? skips)
    {
        for (int i = 0; i < layers; i++)
        {
            if (skips is not null) x = g.Concat(x, skips.Pop());
            x = resnet.Write(g, $"{name}.resnets.{i}", x, time, outChannels);
            if (attention is not null) x = attention($"{name}.attentions.{i}", x);
        }

        if (upsample is not null) x = upsample($"{name}.upsamplers.0", x);
        return g.Tap(name, x);
    }
}

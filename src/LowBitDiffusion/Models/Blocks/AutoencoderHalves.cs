using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.Blocks;

/// <summary>Encoder and decoder of convolutional autoencoders (Esser et al. 2021; Rombach et al. 2022): UNet blocks without time and without skips.</summary>
internal static class AutoencoderHalves
{
    /// <summary>Image <c>[N, C, H, W]</c> to <paramref name="outChannels"/> channels of H and W over 2^(blocks − 1).</summary>
    public static Node Encode(GraphBuilder g, AutoencoderConfig config, Node x, int outChannels)
    {
        IReadOnlyList<int> channels = config.BlockOutChannels;
        x = g.Conv2d("encoder.conv_in", x, channels[0], kernel: 3);
        for (int i = 0; i < channels.Count; i++)
        {
            // Always one column on the right and one row below.
            ImageModule? downsample = i == channels.Count - 1 ? null : (name, h) => Resample2D.Down(g, name, h, padding: 0);
            x = UNetBlocks.Down(g, $"encoder.down_blocks.{i}", x, time: null, config.LayersPerBlock, channels[i], config.Resnet, config.DownAttention[i] ? Attention(g, config) : null, downsample, skips: null);
        }

        x = UNetBlocks.Mid(g, "encoder.mid_block", x, time: null, config.Resnet, config.HasMidAttention ? Attention(g, config) : null);
        return Out(g, config, "encoder", x, outChannels);
    }

    /// <summary>Latent <c>[N, C, h, w]</c> to an image of 2^(blocks − 1) times its height and width.</summary>
    public static Node Decode(GraphBuilder g, AutoencoderConfig config, Node x)
    {
        IReadOnlyList<int> channels = config.BlockOutChannels;
        x = g.Conv2d("decoder.conv_in", x, channels[^1], kernel: 3);
        x = UNetBlocks.Mid(g, "decoder.mid_block", x, time: null, config.Resnet, config.HasMidAttention ? Attention(g, config) : null);
        for (int i = 0; i < channels.Count; i++)
        {
            ImageModule? upsample = i == channels.Count - 1 ? null : (name, h) => Resample2D.Up(g, name, h, 2 * h.Shape[2], 2 * h.Shape[3]);
            x = UNetBlocks.Up(g, $"decoder.up_blocks.{i}", x, time: null, config.LayersPerBlock + 1, channels[^(i + 1)], config.Resnet, config.UpAttention[i] ? Attention(g, config) : null, upsample, skips: null);
        }

        return Out(g, config, "decoder", x, config.OutChannels);
    }

    /// <summary>One head over all channels, wherever it stands.</summary>
    private static ImageModule Attention(GraphBuilder g, AutoencoderConfig config)
    {
        AttentionBlock attention = new() { Groups = config.Resnet.Groups, Epsilon = config.Resnet.Epsilon };
        return (name, x) => attention.Write(g, name, x);
    }

    // The last activation is SiLU whatever the network's.
    private static Node Out(GraphBuilder g, AutoencoderConfig config, string half, Node x, int outChannels) =>
        g.Conv2d($"{half}.conv_out", g.Silu(g.GroupNorm($"{half}.conv_norm_out", x, config.Resnet.Groups, config.Resnet.Epsilon)), outChannels, kernel: 3);
}

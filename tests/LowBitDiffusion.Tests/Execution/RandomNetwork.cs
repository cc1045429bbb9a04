using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Tests.Execution;

/// <summary>Graphs nobody thought of.</summary>
internal static class RandomNetwork
{
    /// <summary>A network with the shapes that fusion has to get right, in random order: residual blocks with time, attention to itself and to a text, skips, resampling, values used twice.</summary>
    public static Graph Build(Random random)
    {
        GraphBuilder g = new();
        int batch = random.Next(1, 4), channels = 4 * random.Next(1, 5), height = 2 * random.Next(2, 5), width = 2 * random.Next(2, 5);
        Node sample = g.Input("sample", new(batch, random.Next(1, 4), height, width), Dependence.Sample), timestep = g.Input("timestep", new(batch), Dependence.Timestep);
        Node text = g.Input("text", new(batch, random.Next(1, 9), 12), Dependence.Condition);
        Node time = g.Silu(g.Linear("time.1", g.TimestepEmbedding(timestep, 16, true, 0), 24)), x = g.Conv2d("conv_in", sample, channels, 3);
        List<Node> skips = [x];
        for (int i = 0; i < 6; i++)
        {
            string name = $"b{i}";
            x = random.Next(7) switch
            {
                0 => Attention(g, name, x, text, random),
                1 when x.Shape[2] > 2 && x.Shape[3] > 2 => g.Conv2d($"{name}.down", x, x.Shape[1], 3, 2, random.Next(2) == 0 ? Padding.Same(1) : new Padding(0, 0, 1, 1)),
                2 => g.Conv2d($"{name}.up", g.Upsample(x, 2 * x.Shape[2] - random.Next(2), 2 * x.Shape[3] - random.Next(2)), x.Shape[1], 3),
                3 when x.Shape[2] > 1 && x.Shape[3] > 1 => g.Upsample(g.AveragePool(g.Silu(g.GroupNorm($"{name}.norm", x, 2, 1e-5f))), x.Shape[2], x.Shape[3]),
                4 when skips.Find(s => s != x && s.Shape[2] == x.Shape[2] && s.Shape[3] == x.Shape[3]) is { } skip => Resnet(g, name, g.Concat(x, skip), time, channels, random),
                _ => Resnet(g, name, x, time, random.Next(2) == 0 ? x.Shape[1] : 4 * random.Next(1, 5), random),
            };
            skips.Add(x);
        }

        g.Output("sample", g.Conv2d("conv_out", g.Silu(g.GroupNorm("out.norm", x, 2, 1e-5f)), 2, 3));
        return g.Build();
    }

    private static Node Resnet(GraphBuilder g, string name, Node x, Node time, int channels, Random random)
    {
        bool scaleShift = random.Next(2) == 0;
        Node h = g.Conv2d($"{name}.conv1", g.Silu(g.GroupNorm($"{name}.1.norm", x, 4, 1e-5f)), channels, 3);
        Node t = g.Linear($"{name}.time", time, scaleShift ? 2 * channels : channels);
        if (!scaleShift) h = g.Add(h, t);
        h = g.GroupNorm($"{name}.2.norm", h, 2, 1e-5f);
        if (scaleShift) h = g.Modulate(h, g.Slice(t, 0, channels), g.Slice(t, channels, channels));
        h = g.Conv2d($"{name}.conv2", g.Silu(h), channels, 3);
        Node shortcut = x.Shape[1] == channels ? x : g.Conv2d($"{name}.shortcut", x, channels, 1);
        return g.Affine(g.Add(shortcut, h), random.Next(2) == 0 ? 1 : 0.7f);
    }

    private static Node Attention(GraphBuilder g, string name, Node x, Node text, Random random)
    {
        Node tokens = g.ToTokens(g.GroupNorm($"{name}.norm", x, 2, 1e-5f));
        int channels = x.Shape[1], heads = 1 << random.Next(3);
        Node source = random.Next(2) == 0 ? tokens : text;
        Node q = g.Linear($"{name}.q", tokens, channels), k = g.Linear($"{name}.k", source, channels), v = g.Linear($"{name}.v", source, channels);
        Node o = g.Linear($"{name}.o", g.Attention(q, k, v, heads), channels);
        Node image = g.Add(g.ToImage(o, x.Shape[2], x.Shape[3]), x);
        Node normed = g.LayerNorm($"{name}.ln.norm", g.ToTokens(image), 1e-5f);
        Node feed = g.Linear($"{name}.ff2", g.Geglu(g.Linear($"{name}.ff1", normed, 4 * channels)), channels);
        return g.ToImage(g.Add(feed, g.ToTokens(image)), x.Shape[2], x.Shape[3]);
    }
}

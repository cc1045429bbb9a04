using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>
/// The pixel-space UNet of diffusers (Ho et al. 2020 and its successors): <c>sample</c> <c>[N, C, H, W]</c>, <c>timestep</c> <c>[N]</c> and, for a conditional model,
/// <c>class_labels</c> (<c>[N]</c>; <c>[N, D]</c> for embeddings given as they are) to a prediction <c>sample</c>.
/// </summary>
public sealed class UNet2DModel : INetwork
{
    private readonly UNet2DConfig _config;

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public UNet2DModel(JsonConfig config) => _config = UNet2DConfig.Read(config);

    /// <inheritdoc/>
    public string ClassName => nameof(UNet2DModel);

    /// <inheritdoc/>
    public IReadOnlyList<string> InputNames => _config.ClassEmbedding == ClassEmbedding.None ? ["sample", "timestep"] : ["sample", "timestep", "class_labels"];

    /// <inheritdoc/>
    public int ClassLabels => _config.ClassEmbedding == ClassEmbedding.Table ? _config.ClassTableRows : 0;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch)
    {
        Dictionary<string, TensorShape> inputs = new()
        {
            ["sample"] = new(batch, _config.InChannels, _config.SampleHeight, _config.SampleWidth),
            ["timestep"] = new(batch),
        };
        if (_config.ClassEmbedding != ClassEmbedding.None)
            inputs["class_labels"] = _config.ClassEmbedding == ClassEmbedding.Identity ? new(batch, _config.TimeEmbeddingDim) : new(batch);
        return inputs;
    }

    /// <inheritdoc/>
    public IEnumerable<string> LegacyNames(string name) => name == "time_proj.weight" ? ["time_proj.W"] : LegacyAttention.NamesOf(name);

    /// <inheritdoc/>
    public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        GraphBuilder g = new();
        Node sample = g.Input("sample", inputs, Dependence.Sample, rank: 4, channels: _config.InChannels);
        Node timestep = g.Input("timestep", inputs, Dependence.Timestep, rank: 1);
        Node? labels = _config.ClassEmbedding == ClassEmbedding.None ? null : g.Input("class_labels", inputs, Dependence.Condition, rank: _config.ClassEmbedding == ClassEmbedding.Identity ? 2 : 1);
        IReadOnlyList<int> channels = _config.BlockOutChannels;
        Node time = g.Activation(_config.Resnet.Activation, TimeAndClass(g, timestep, labels));

        Stack<Node> skips = [];
        Node x = g.Conv2d("conv_in", _config.CenterInputSample ? g.Affine(sample, 2, -1) : sample, channels[0], kernel: 3);
        skips.Push(x);
        for (int i = 0; i < channels.Count; i++)
        {
            UNet2DBlock block = _config.Down[i];
            int outChannels = channels[i];
            ImageModule? downsample = i == channels.Count - 1 ? null : block.Resnet == true
                ? (name, h) => (_config.Resnet with { Resampling = Resampling.Down }).Write(g, name, h, time, outChannels)
                : (name, h) => Resample2D.Down(g, name, h, _config.DownsamplePadding);
            x = UNetBlocks.Down(g, $"down_blocks.{i}", x, time, _config.LayersPerBlock, outChannels, _config.Resnet, Attention(g, block), downsample, skips);
        }

        if (_config.HasMidBlock)
        {
            float factor = _config.MidBlockScaleFactor;
            AttentionBlock attention = new() { HeadDim = _config.AttentionHeadDim, Groups = _config.MidAttentionGroups, Epsilon = _config.Resnet.Epsilon, OutputScaleFactor = factor };
            x = UNetBlocks.Mid(g, "mid_block", x, time, _config.Resnet with { OutputScaleFactor = factor }, _config.HasMidAttention ? (name, h) => attention.Write(g, name, h) : null);
        }

        for (int i = 0; i < channels.Count; i++)
        {
            UNet2DBlock block = _config.Up[i];
            int outChannels = channels[^(i + 1)];
            ImageModule? upsample = i == channels.Count - 1 ? null : block.Resnet == true
                ? (name, h) => (_config.Resnet with { Resampling = Resampling.Up }).Write(g, name, h, time, outChannels)
                : (name, h) => Resample2D.Up(g, name, h, 2 * h.Shape[2], 2 * h.Shape[3]);
            x = UNetBlocks.Up(g, $"up_blocks.{i}", x, time, _config.LayersPerBlock + 1, outChannels, _config.Resnet, Attention(g, block), upsample, skips);
        }

        x = g.Silu(g.GroupNorm("conv_norm_out", x, _config.Resnet.Groups, _config.Resnet.Epsilon));
        x = g.Conv2d("conv_out", x, _config.OutChannels, kernel: 3);
        g.Output("sample", _config.TimeProjection == TimeProjection.Fourier ? g.Divide(x, timestep) : x);
        return g.Build();
    }

    private ImageModule? Attention(GraphBuilder g, UNet2DBlock block)
    {
        if (!block.Attention) return null;
        AttentionBlock attention = new() { HeadDim = _config.AttentionHeadDim, Groups = _config.Resnet.Groups, Epsilon = _config.Resnet.Epsilon };
        return (name, x) => attention.Write(g, name, x);
    }

    /// <summary>Embedding of the timestep plus the label's.</summary>
    private Node TimeAndClass(GraphBuilder g, Node timestep, Node? labels)
    {
        Node time = TimestepEmbedding.Write(g, "time_embedding", g.Tap("time_proj", Project(g, timestep)), _config.TimeEmbeddingDim);
        if (labels is null) return time;
        return g.Add(time, _config.ClassEmbedding switch
        {
            ClassEmbedding.Table => g.Embedding("class_embedding", labels, _config.ClassTableRows, _config.TimeEmbeddingDim),
            ClassEmbedding.Timestep => TimestepEmbedding.Write(g, "class_embedding", Project(g, labels), _config.TimeEmbeddingDim),
            _ => labels,
        });
    }

    private Node Project(GraphBuilder g, Node scalars) => _config.TimeProjection switch
    {
        TimeProjection.Fourier => g.FourierEmbedding("time_proj", scalars, _config.BlockOutChannels[0]),
        TimeProjection.Learned => g.Embedding("time_proj", scalars, _config.TimeTableRows, _config.BlockOutChannels[0]),
        _ => g.TimestepEmbedding(scalars, _config.BlockOutChannels[0], _config.FlipSinToCos, _config.FreqShift),
    };
}

using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>
/// The UNet of latent diffusion with text (Rombach et al. 2022), as Stable Diffusion 1.x, 2.x and XL have it: <c>sample</c> <c>[N, C, H, W]</c>, <c>timestep</c> <c>[N]</c>,
/// <c>encoder_hidden_states</c> <c>[N, L, D]</c> to a prediction <c>sample</c>. Some configurations also need <c>class_labels</c>, or <c>text_embeds</c> <c>[N, E]</c> and
/// <c>time_ids</c> <c>[N, 6]</c> (SDXL). May be given: <c>encoder_attention_mask</c> <c>[N, L]</c> of ones and zeros, <c>timestep_cond</c> <c>[N, D]</c> where the configuration has it.
/// Heights and widths need not be multiples of the UNet's factor: each upsampler goes to the size of the next skip.
/// </summary>
public sealed class UNet2DConditionModel : INetwork
{
    // CLIP's sequence length.
    private const int TextTokens = 77;

    private readonly UNet2DConditionConfig _config;

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public UNet2DConditionModel(JsonConfig config) => _config = UNet2DConditionConfig.Read(config);

    /// <inheritdoc/>
    public string ClassName => nameof(UNet2DConditionModel);

    /// <inheritdoc/>
    public IReadOnlyList<string> InputNames =>
    [
        "sample",
        "timestep",
        "encoder_hidden_states",
        .. _config.ClassEmbedding == ClassEmbedding.None ? (string[])[] : ["class_labels"],
        .. _config.Addition == AdditionEmbedding.None ? (string[])[] : ["text_embeds", "time_ids"],
    ];

    /// <inheritdoc/>
    public IReadOnlyList<string> OptionalInputNames => _config.TimeConditionDim is null ? ["encoder_attention_mask"] : ["encoder_attention_mask", "timestep_cond"];

    /// <inheritdoc/>
    public int ClassLabels => _config.ClassEmbedding == ClassEmbedding.Table ? _config.ClassTableRows : 0;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch)
    {
        Dictionary<string, TensorShape> inputs = new()
        {
            ["sample"] = new(batch, _config.InChannels, _config.SampleHeight, _config.SampleWidth),
            ["timestep"] = new(batch),
            ["encoder_hidden_states"] = new(batch, TextTokens, _config.CrossAttentionDim),
        };
        if (_config.ClassEmbedding != ClassEmbedding.None)
        {
            inputs["class_labels"] = _config.ClassEmbedding switch
            {
                ClassEmbedding.Projection => new(batch, _config.ProjectionInputDim),
                ClassEmbedding.Identity => new(batch, _config.TimeEmbeddingDim),
                _ => new(batch),
            };
        }

        if (_config.Addition != AdditionEmbedding.None)
            (inputs["text_embeds"], inputs["time_ids"]) = (new(batch, _config.ProjectionInputDim - UNet2DConditionConfig.SizeIds * _config.AdditionTimeDim), new(batch, UNet2DConditionConfig.SizeIds));
        return inputs;
    }

    /// <inheritdoc/>
    public IEnumerable<string> LegacyNames(string name) => LegacyAttention.NamesOf(name);

    /// <inheritdoc/>
    public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        GraphBuilder g = new();
        Node sample = g.Input("sample", inputs, Dependence.Sample, rank: 4, channels: _config.InChannels);
        Node text = g.Input("encoder_hidden_states", inputs, Dependence.Condition, rank: 3, channels: _config.CrossAttentionDim);
        Node? mask = Blocks.Attention.MaskBias(g, g.OptionalInput("encoder_attention_mask", inputs, Dependence.Condition, rank: 2));
        Node time = g.Activation(_config.Resnet.Activation, Time(g, inputs));

        IReadOnlyList<int> channels = _config.BlockOutChannels;
        int last = channels.Count - 1;
        Stack<Node> skips = [];
        Node x = g.Conv2d("conv_in", _config.CenterInputSample ? g.Affine(sample, 2, -1) : sample, channels[0], _config.ConvInKernel);
        skips.Push(x);
        for (int i = 0; i <= last; i++)
        {
            ImageModule? downsample = i == last ? null : (name, h) => Resample2D.Down(g, name, h, _config.DownsamplePadding);
            ImageModule? attention = _config.DownAttention[i] ? Transformer(g, i, text, mask) : null;
            x = UNetBlocks.Down(g, $"down_blocks.{i}", x, time, _config.LayersPerBlock[i], channels[i], _config.Resnet, attention, downsample, skips);
        }

        if (_config.HasMidBlock)
            x = UNetBlocks.Mid(g, "mid_block", x, time, _config.Resnet with { OutputScaleFactor = _config.MidBlockScaleFactor }, Transformer(g, last, text, mask));

        for (int i = 0; i <= last; i++)
        {
            int level = last - i;
            ImageModule? upsample = level == 0 ? null : (name, h) => Resample2D.Up(g, name, h, skips.Peek().Shape[2], skips.Peek().Shape[3]);
            ImageModule? attention = _config.UpAttention[i] ? Transformer(g, level, text, mask) : null;
            x = UNetBlocks.Up(g, $"up_blocks.{i}", x, time, _config.LayersPerBlock[level] + 1, channels[level], _config.Resnet, attention, upsample, skips);
        }

        x = g.Activation(_config.Resnet.Activation, g.GroupNorm("conv_norm_out", x, _config.Resnet.Groups, _config.Resnet.Epsilon));
        g.Output("sample", g.Conv2d("conv_out", x, _config.OutChannels, _config.ConvOutKernel));
        return g.Build();
    }

    private ImageModule Transformer(GraphBuilder g, int level, Node text, Node? mask)
    {
        SpatialTransformer transformer = new()
        {
            Groups = _config.Resnet.Groups,
            Heads = _config.Heads[level],
            Layers = _config.TransformerLayersPerBlock[level],
            LinearProjection = _config.LinearProjection,
        };
        return (name, x) => transformer.Write(g, name, x, text, mask);
    }

    /// <summary>Embedding of the timestep, plus the label's, plus SDXL's of text and sizes.</summary>
    private Node Time(GraphBuilder g, IReadOnlyDictionary<string, TensorShape> inputs)
    {
        Node projected = g.Tap("time_proj", Sinusoid(g, g.Input("timestep", inputs, Dependence.Timestep, rank: 1), _config.BlockOutChannels[0]));
        if (_config.TimeConditionDim is { } conditionDim && g.OptionalInput("timestep_cond", inputs, Dependence.Condition, rank: 2, channels: conditionDim) is { } condition)
            projected = g.Add(projected, g.Linear("time_embedding.cond_proj", condition, projected.Shape.Channels, bias: false));
        Node time = Embed(g, "time_embedding", projected, _config.Resnet.Activation);
        if (_config.ClassEmbedding != ClassEmbedding.None)
        {
            bool vector = _config.ClassEmbedding is ClassEmbedding.Identity or ClassEmbedding.Projection;
            Node labels = g.Input("class_labels", inputs, Dependence.Condition, rank: vector ? 2 : 1);
            time = g.Add(time, _config.ClassEmbedding switch
            {
                ClassEmbedding.Table => g.Embedding("class_embedding", labels, _config.ClassTableRows, _config.TimeEmbeddingDim),
                ClassEmbedding.Timestep => Embed(g, "class_embedding", Sinusoid(g, labels, _config.BlockOutChannels[0]), _config.Resnet.Activation),
                ClassEmbedding.Projection => Embed(g, "class_embedding", labels),
                _ => labels,
            });
        }

        return _config.Addition == AdditionEmbedding.None ? time : g.Add(time, TextAndSizes(g, inputs));
    }

    /// <summary>Podell et al. 2023: the pooled text beside sinusoids of original size, crop and target size.</summary>
    private Node TextAndSizes(GraphBuilder g, IReadOnlyDictionary<string, TensorShape> inputs)
    {
        Node text = g.Input("text_embeds", inputs, Dependence.Condition, rank: 2);
        Node ids = g.Input("time_ids", inputs, Dependence.Condition, rank: 2);
        Node sinusoids = g.Tap("add_time_proj", Sinusoid(g, g.Reshape(ids, new((int)ids.Shape.Elements)), _config.AdditionTimeDim));
        Node both = g.Concat(text, g.Reshape(sinusoids, new(ids.Shape[0], ids.Shape[1] * _config.AdditionTimeDim)));
        if (both.Shape.Channels != _config.ProjectionInputDim)
            throw new GraphException("add_embedding", $"text {text.Shape} and {ids.Shape[1]} ids of {_config.AdditionTimeDim} make {both.Shape.Channels} features, expected {_config.ProjectionInputDim}");
        return Embed(g, "add_embedding", both);
    }

    private Node Sinusoid(GraphBuilder g, Node scalars, int features) => g.TimestepEmbedding(scalars, features, _config.FlipSinToCos, _config.FreqShift);

    // Only embeddings of timesteps have the network's activation inside.
    private Node Embed(GraphBuilder g, string name, Node x, ActivationKind activation = ActivationKind.Silu) => TimestepEmbedding.Write(g, name, x, _config.TimeEmbeddingDim, activation);
}

using System.Text.Json.Nodes;

namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>
/// The original UNet of latent diffusion. It numbers its blocks through, whatever they are; diffusers sorts them by resolution. What each is shows in the names of its tensors:
/// <code>
///   input_blocks.n.0.in_layers …   residual block n          output_blocks.n.0.in_layers …   residual block n
///   input_blocks.n.1.proj_in …     its transformer           output_blocks.n.1.proj_in …     its transformer
///   input_blocks.n.0.op            downsampler: last of      output_blocks.n.1|2.conv        upsampler: last of
///                                  its resolution                                            its resolution
/// </code>
/// </summary>
internal sealed class UNetLayout
{
    // Of the two kinds of transformers, those with a linear projection fix the width of a head, the older ones the number of heads.
    private const int HeadWidth = 64, Heads = 8;

    private static readonly (string Old, string New)[] s_resnet =
    [
        ("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("emb_layers.1", "time_emb_proj"), ("out_layers.0", "norm2"), ("out_layers.3", "conv2"),
        ("skip_connection", "conv_shortcut"),
    ];

    private readonly IReadOnlyDictionary<string, TensorInfo> _tensors;
    private readonly string _origin;
    private readonly List<NameRule> _rules =
    [
        new("time_embed.0.*", "time_embedding.linear_1.*"),
        new("time_embed.2.*", "time_embedding.linear_2.*"),
        new("label_emb.0.0.*", "add_embedding.linear_1.*"),
        new("label_emb.0.2.*", "add_embedding.linear_2.*"),
        new("input_blocks.0.0.*", "conv_in.*"),
        new("out.0.*", "conv_norm_out.*"),
        new("out.2.*", "conv_out.*"),
    ];

    private readonly List<Level> _down = [], _up = [];

    /// <summary>Reads the layout off the names.</summary>
    /// <param name="origin">The file, for messages.</param>
    /// <param name="tensors">The UNet's tensors without the prefix that all have.</param>
    /// <exception cref="ModelFormatException">This is not such a UNet.</exception>
    public UNetLayout(string origin, IReadOnlyDictionary<string, TensorInfo> tensors)
    {
        (_origin, _tensors) = (origin, tensors);
        Down();
        if (_down.Count == 0) throw new ModelFormatException(origin, "input_blocks.1.0.in_layers.2.weight", "expected the UNet of latent diffusion, found no such tensor");
        Resnet("middle_block.0", "mid_block.resnets.0");
        _rules.Add(new("middle_block.1.*", "mid_block.attentions.0.*"));
        Resnet("middle_block.2", "mid_block.resnets.1");
        Up();
    }

    /// <summary>The table from the original names to diffusers'.</summary>
    public IReadOnlyList<NameRule> Rules => _rules;

    /// <summary>Channels of the text that the transformers read; 0 if there are no transformers.</summary>
    public int ContextWidth => Widths("attn2.to_k.weight").FirstOrDefault();

    /// <summary>Features of the vector that is added to the time embedding, or 0.</summary>
    public int AdditionWidth => _tensors.ContainsKey("label_emb.0.0.weight") ? Extent("label_emb.0.0.weight", 1) : 0;

    /// <summary>Channels of the image that is read.</summary>
    public int InChannels => Extent("input_blocks.0.0.weight", 1);

    /// <summary>Sets what the shapes say in a published model's <c>config.json</c>.</summary>
    public void Configure(JsonObject config)
    {
        int last = _down.Count - 1, midDepth = Depth("middle_block.1");
        bool linear = _tensors.TryGetValue("middle_block.1.proj_in.weight", out TensorInfo? projection) && projection.Shape.Count == 2;
        config["block_out_channels"] = Array([.. _down.Select(level => level.Channels)]);
        config["down_block_types"] = Array([.. _down.Select(level => level.Depth > 0 ? "CrossAttnDownBlock2D" : "DownBlock2D")]);
        config["up_block_types"] = Array([.. _up.Select(level => level.Depth > 0 ? "CrossAttnUpBlock2D" : "UpBlock2D")]);
        config["layers_per_block"] = PerBlock([.. _down.Select(level => level.Layers)]);
        // The middle block has the depth that is given for the last resolution, which may have no transformers of its own.
        config["transformer_layers_per_block"] = PerBlock([.. _down.Select((level, i) => level.Depth > 0 ? level.Depth : i == last ? Math.Max(midDepth, 1) : 1)]);
        config["attention_head_dim"] = linear ? Array([.. _down.Select(level => Math.Max(level.Channels / HeadWidth, 1))]) : Heads;
        config["use_linear_projection"] = linear;
        config["cross_attention_dim"] = ContextWidth;
        config["in_channels"] = InChannels;
        config["out_channels"] = Extent("out.2.weight", 0);
        if (AdditionWidth > 0) config["projection_class_embeddings_input_dim"] = AdditionWidth;
    }

    private void Down()
    {
        int layer = 0;
        for (int n = 1; ; n++)
        {
            string block = $"input_blocks.{n}";
            if (_tensors.ContainsKey($"{block}.0.op.weight"))
            {
                _rules.Add(new($"{block}.0.op.*", $"down_blocks.{_down.Count - 1}.downsamplers.0.conv.*"));
                layer = 0;
            }
            else if (_tensors.ContainsKey($"{block}.0.in_layers.2.weight"))
            {
                if (layer == 0) _down.Add(new Level());
                Block(block, $"down_blocks.{_down.Count - 1}", layer++, _down[^1]);
            }
            else
            {
                return;
            }
        }
    }

    private void Up()
    {
        int layer = 0;
        for (int n = 0; _tensors.ContainsKey($"output_blocks.{n}.0.in_layers.2.weight"); n++)
        {
            string block = $"output_blocks.{n}";
            if (layer == 0) _up.Add(new Level());
            string level = $"up_blocks.{_up.Count - 1}";
            Block(block, level, layer++, _up[^1]);
            foreach (string upsampler in (string[])[$"{block}.1.conv", $"{block}.2.conv"])
            {
                if (!_tensors.ContainsKey($"{upsampler}.weight")) continue;
                _rules.Add(new($"{upsampler}.*", $"{level}.upsamplers.0.conv.*"));
                layer = 0;
            }
        }
    }

    private void Block(string block, string level, int layer, Level found)
    {
        Resnet($"{block}.0", $"{level}.resnets.{layer}");
        (found.Channels, found.Layers) = (Extent($"{block}.0.in_layers.2.weight", 0), layer + 1);
        if (!_tensors.ContainsKey($"{block}.1.proj_in.weight")) return;
        _rules.Add(new($"{block}.1.*", $"{level}.attentions.{layer}.*"));
        found.Depth = Depth($"{block}.1");
    }

    private void Resnet(string oldName, string newName) => _rules.AddRange(s_resnet.Select(part => new NameRule($"{oldName}.{part.Old}.*", $"{newName}.{part.New}.*")));

    private int Depth(string transformer)
    {
        int depth = 0;
        while (_tensors.ContainsKey($"{transformer}.transformer_blocks.{depth}.norm1.weight")) depth++;
        return depth;
    }

    private IEnumerable<int> Widths(string suffix) => _tensors.Keys.Where(name => name.EndsWith(suffix, StringComparison.Ordinal)).Order(StringComparer.Ordinal).Select(name => Extent(name, 1));

    private int Extent(string name, int axis) => _tensors.Extent(_origin, name, axis);

    private static JsonArray Array<T>(T[] values) => new([.. values.Select(value => (JsonNode)JsonValue.Create(value)!)]);

    private static JsonNode PerBlock(int[] values) => values.Distinct().Count() == 1 ? values[0] : Array(values);

    private sealed class Level
    {
        public int Channels { get; set; }

        public int Layers { get; set; }

        // Blocks of each transformer; 0 for no transformers.
        public int Depth { get; set; }
    }
}

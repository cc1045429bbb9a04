using System.Text.Json.Nodes;

namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>
/// The original autoencoder of latent diffusion. Its decoder counts resolutions from the finest, diffusers' from the coarsest; projections of its attention are 1×1
/// convolutions, diffusers' are matrices.
/// </summary>
internal sealed class AutoencoderLayout
{
    private static readonly (string Old, string New, TensorChange Change)[] s_middle =
    [
        ("block_1.*", "resnets.0.*", TensorChange.None),
        ("block_2.*", "resnets.1.*", TensorChange.None),
        ("attn_1.norm.*", "attentions.0.group_norm.*", TensorChange.None),
        .. Projection("q", "to_q"),
        .. Projection("k", "to_k"),
        .. Projection("v", "to_v"),
        .. Projection("proj_out", "to_out.0"),
    ];

    // The ends of encoder and decoder, and everything in a residual block but its shortcut, have one name in both.
    private static readonly string[] s_same = ["norm1", "conv1", "norm2", "conv2"];

    private readonly string _origin;
    private readonly IReadOnlyDictionary<string, TensorInfo> _tensors;
    private readonly int _levels;

    /// <summary>Reads the layout off the names.</summary>
    /// <param name="origin">The file, for messages.</param>
    /// <param name="tensors">The autoencoder's tensors without the prefix that all have.</param>
    public AutoencoderLayout(string origin, IReadOnlyDictionary<string, TensorInfo> tensors)
    {
        (_origin, _tensors) = (origin, tensors);
        while (tensors.ContainsKey($"decoder.up.{_levels}.block.0.conv1.weight")) _levels++;
        List<NameRule> rules = [new("quant_conv.*", "quant_conv.*"), new("post_quant_conv.*", "post_quant_conv.*")];
        foreach (string half in (string[])["encoder", "decoder"])
        {
            foreach ((string old, string name) in ((string, string)[])[("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")])
                rules.Add(new($"{half}.{old}.*", $"{half}.{name}.*"));
            rules.AddRange(s_middle.Select(part => new NameRule($"{half}.mid.{part.Old}", $"{half}.mid_block.{part.New}", part.Change)));
        }

        for (int i = 0; i < _levels; i++)
        {
            string up = $"decoder.up_blocks.{_levels - 1 - i}";
            foreach ((string old, string name) in ((string, string)[])[.. s_same.Select(part => (part, part)), ("nin_shortcut", "conv_shortcut")])
            {
                rules.Add(new($"encoder.down.{i}.block.{{j}}.{old}.*", $"encoder.down_blocks.{i}.resnets.{{j}}.{name}.*"));
                rules.Add(new($"decoder.up.{i}.block.{{j}}.{old}.*", $"{up}.resnets.{{j}}.{name}.*"));
            }

            rules.Add(new($"encoder.down.{i}.downsample.conv.*", $"encoder.down_blocks.{i}.downsamplers.0.conv.*"));
            rules.Add(new($"decoder.up.{i}.upsample.conv.*", $"{up}.upsamplers.0.conv.*"));
        }

        Rules = rules;
    }

    /// <summary>The table from the original names to diffusers'.</summary>
    public IReadOnlyList<NameRule> Rules { get; }

    /// <summary>Sets what the shapes say in a published model's <c>config.json</c>.</summary>
    public void Configure(JsonObject config)
    {
        int layers = 0;
        while (_tensors.ContainsKey($"encoder.down.0.block.{layers}.conv1.weight")) layers++;
        config["block_out_channels"] = new JsonArray([.. Enumerable.Range(0, _levels).Select(i => (JsonNode)Extent($"encoder.down.{i}.block.0.conv1.weight", 0))]);
        config["down_block_types"] = Blocks("DownEncoderBlock2D");
        config["up_block_types"] = Blocks("UpDecoderBlock2D");
        config["layers_per_block"] = layers;
        config["in_channels"] = Extent("encoder.conv_in.weight", 1);
        config["out_channels"] = Extent("decoder.conv_out.weight", 0);
        config["latent_channels"] = Extent("decoder.conv_in.weight", 1);
        if (!_tensors.ContainsKey("quant_conv.weight")) config["use_quant_conv"] = false;
        if (!_tensors.ContainsKey("post_quant_conv.weight")) config["use_post_quant_conv"] = false;
    }

    private JsonArray Blocks(string name) => new([.. Enumerable.Repeat(name, _levels).Select(n => (JsonNode)n)]);

    private int Extent(string name, int axis) => _tensors.Extent(_origin, name, axis);

    private static (string, string, TensorChange)[] Projection(string old, string name) =>
        [($"attn_1.{old}.weight", $"attentions.0.{name}.weight", TensorChange.Matrix), ($"attn_1.{old}.bias", $"attentions.0.{name}.bias", TensorChange.None)];
}

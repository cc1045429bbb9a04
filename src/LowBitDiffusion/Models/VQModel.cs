using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>
/// The autoencoder with a code book (Esser et al. 2021). <c>image</c> <c>[N, 3, H, W]</c> gives <c>encoded</c>, not yet on the code book; <c>latent</c> <c>[N, C, h, w]</c> gives the nearest
/// <c>codes</c> <c>[N, h·w]</c>, the <c>quantized</c> latent, and images: <c>decoded</c> from the quantized latent, <c>decoded_from_codes</c>, <c>decoded_without_quantize</c> from the latent
/// as it is. Either input or both; <see cref="Graph.Select"/> takes the outputs that are wanted.
/// </summary>
public sealed class VQModel : IAutoencoder
{
    private readonly AutoencoderConfig _config;
    private readonly int _codes, _codeChannels;

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public VQModel(JsonConfig config)
    {
        _config = AutoencoderConfig.Read(config);
        _codes = ConfigValues.Size(config, "num_vq_embeddings", 256);
        _codeChannels = ConfigValues.OptionalSize(config, "vq_embed_dim") ?? _config.LatentChannels;
        ScalingFactor = config.GetFloat("scaling_factor", 0.18215f);
        ConfigValues.OneOf<bool>(config, "norm_type", "group", new() { ["group"] = true });
        ConfigValues.RejectUnknown(config, "force_upcast");
    }

    /// <inheritdoc/>
    public string ClassName => nameof(VQModel);

    /// <inheritdoc/>
    public IReadOnlyList<string> InputNames => [];

    /// <inheritdoc/>
    public IReadOnlyList<string> OptionalInputNames => ["image", "latent"];

    /// <inheritdoc/>
    public float ScalingFactor { get; }

    /// <inheritdoc/>
    public float ShiftFactor => 0;

    /// <inheritdoc/>
    public int LatentChannels => _codeChannels;

    /// <inheritdoc/>
    public int ImageChannels => _config.OutChannels;

    /// <inheritdoc/>
    public int EncodedChannels => _config.InChannels;

    /// <inheritdoc/>
    public IReadOnlyList<string> EncodedOutputs => ["encoded"];

    /// <inheritdoc/>
    public int Factor => _config.Factor;

    /// <inheritdoc/>
    public IEnumerable<string> LegacyNames(string name) => LegacyAttention.NamesOf(name);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch) => new Dictionary<string, TensorShape> { ["latent"] = _config.Latent(batch, _codeChannels) };

    /// <inheritdoc/>
    public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        GraphBuilder g = new();
        if (g.OptionalInput("image", inputs, Dependence.Sample, rank: 4, channels: _config.InChannels) is { } image)
            g.Output("encoded", g.Conv2d("quant_conv", AutoencoderHalves.Encode(g, _config, image, _config.LatentChannels), _codeChannels, kernel: 1));

        if (g.OptionalInput("latent", inputs, Dependence.Sample, rank: 4, channels: _codeChannels) is { } latent)
        {
            int height = latent.Shape[2], width = latent.Shape[3];
            Node tokens = g.ToTokens(latent);
            Node codes = g.NearestCode("quantize.embedding", tokens, _codes);
            Node entries = g.Embedding("quantize.embedding", codes, _codes, _codeChannels);

            // Training adds the difference so that gradients pass; the sum may differ from the entry in its last bit.
            Node quantized = g.Add(tokens, g.Add(entries, g.Affine(tokens, -1)));
            g.Output("codes", codes);
            g.Output("quantized", g.ToImage(quantized, height, width));
            g.Output("decoded_without_quantize", Decode(g, latent));
            g.Output("decoded_from_codes", Decode(g, g.ToImage(entries, height, width)));
            g.Output("decoded", Decode(g, g.ToImage(quantized, height, width)));
        }

        return g.Build();
    }

    private Node Decode(GraphBuilder g, Node latent) => AutoencoderHalves.Decode(g, _config, g.Conv2d("post_quant_conv", latent, _config.LatentChannels, kernel: 1));
}

using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models.Blocks;

namespace LowBitDiffusion.Models;

/// <summary>
/// The autoencoder of latent diffusion (Rombach et al. 2022). <c>image</c> <c>[N, 3, H, W]</c> gives <c>moments</c> and from them <c>mean</c>, <c>logvar</c> (limited to
/// [−30, 20]) and <c>std</c> of the latent's normal distribution; <c>latent</c> <c>[N, C, h, w]</c> gives <c>decoded</c>. Either input or both.
/// </summary>
public sealed class AutoencoderKL : IAutoencoder
{
    private readonly AutoencoderConfig _config;
    private readonly bool _quantConv, _postQuantConv;

    /// <summary>Reads <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">A value is missing, of the wrong kind, or not supported.</exception>
    public AutoencoderKL(JsonConfig config)
    {
        _config = AutoencoderConfig.Read(config);
        _quantConv = config.GetBool("use_quant_conv", true);
        _postQuantConv = config.GetBool("use_post_quant_conv", true);
        ScalingFactor = config.GetFloat("scaling_factor", 0.18215f);
        ShiftFactor = config.GetNullableFloat("shift_factor") ?? 0;
        ConfigValues.RejectUnknown(config, "force_upcast");
    }

    /// <inheritdoc/>
    public string ClassName => nameof(AutoencoderKL);

    /// <inheritdoc/>
    public IReadOnlyList<string> InputNames => [];

    /// <inheritdoc/>
    public IReadOnlyList<string> OptionalInputNames => ["image", "latent"];

    /// <inheritdoc/>
    public float ScalingFactor { get; }

    /// <inheritdoc/>
    public float ShiftFactor { get; }

    /// <inheritdoc/>
    public int LatentChannels => _config.LatentChannels;

    /// <inheritdoc/>
    public int ImageChannels => _config.OutChannels;

    /// <inheritdoc/>
    public int EncodedChannels => _config.InChannels;

    /// <inheritdoc/>
    public IReadOnlyList<string> EncodedOutputs => ["mean", "std"];

    /// <inheritdoc/>
    public int Factor => _config.Factor;

    /// <inheritdoc/>
    public IEnumerable<string> LegacyNames(string name) => LegacyAttention.NamesOf(name);

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch) => new Dictionary<string, TensorShape> { ["latent"] = _config.Latent(batch, _config.LatentChannels) };

    /// <inheritdoc/>
    public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        GraphBuilder g = new();
        int channels = _config.LatentChannels;
        if (g.OptionalInput("image", inputs, Dependence.Sample, rank: 4, channels: _config.InChannels) is { } image)
        {
            Node moments = AutoencoderHalves.Encode(g, _config, image, 2 * channels);
            if (_quantConv) moments = g.Conv2d("quant_conv", moments, 2 * channels, kernel: 1);
            Node logVariance = g.Clamp(g.Slice(moments, channels, channels), -30, 20);
            g.Output("moments", moments);
            g.Output("mean", g.Slice(moments, 0, channels));
            g.Output("logvar", logVariance);
            g.Output("std", g.Activation(ActivationKind.Exp, g.Affine(logVariance, 0.5f)));
        }

        if (g.OptionalInput("latent", inputs, Dependence.Sample, rank: 4, channels: channels) is { } latent)
        {
            if (_postQuantConv) latent = g.Conv2d("post_quant_conv", latent, channels, kernel: 1);
            g.Output("decoded", AutoencoderHalves.Decode(g, _config, latent));
        }

        return g.Build();
    }
}

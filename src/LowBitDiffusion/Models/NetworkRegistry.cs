using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Models;

/// <summary>Networks by diffusers' class names.</summary>
public static class NetworkRegistry
{
    private static readonly Dictionary<string, Func<JsonConfig, INetwork>> Networks = new()
    {
        [nameof(UNet2DModel)] = config => new UNet2DModel(config),
        [nameof(UNet2DConditionModel)] = config => new UNet2DConditionModel(config),
        [nameof(DiTTransformer2DModel)] = config => new DiTTransformer2DModel(config),
        [nameof(PixArtTransformer2DModel)] = config => new PixArtTransformer2DModel(config),
        [nameof(AutoencoderKL)] = config => new AutoencoderKL(config),
        [nameof(VQModel)] = config => new VQModel(config),
        [ClipTextModel.PlainClass] = config => new ClipTextModel(config, withProjection: false),
        [ClipTextModel.ProjectionClass] = config => new ClipTextModel(config, withProjection: true),
    };

    /// <summary>Names of the classes that can be created.</summary>
    public static IReadOnlyCollection<string> ClassNames => Networks.Keys;

    /// <summary>Creates the network a <c>config.json</c> describes: its class is <c>_class_name</c>, or the first of <c>architectures</c> in text encoders.</summary>
    /// <exception cref="ModelFormatException">The class, or one of the values, is missing, unknown or not supported; the message lists what is.</exception>
    public static INetwork Create(JsonConfig config)
    {
        string? name = config.GetNullableString("_class_name") ?? (config.HasValue("architectures") ? config.GetStringArray("architectures").FirstOrDefault() : null);
        return ConfigValues.Meaning(config, "_class_name", name, Networks)(config);
    }
}

using System.Text;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Formats.Presets;

namespace LowBitDiffusion.Models;

/// <summary>Networks of published models by name, with the configurations that were published: for measuring without their weights.</summary>
public static class Architectures
{
    private static readonly (string Name, string Preset, string Component)[] s_all =
    [
        ("ddpm-cifar10", ModelPreset.DdpmCifar10, "unet"),
        ("sd15", ModelPreset.StableDiffusion15, "unet"),
        ("sd21", ModelPreset.StableDiffusion21, "unet"),
        ("sdxl", ModelPreset.StableDiffusionXL, "unet"),
        ("dit-xl-2", ModelPreset.DiTXL2, "transformer"),
        ("sd-vae", ModelPreset.StableDiffusion15, "vae"),
        ("sdxl-vae", ModelPreset.StableDiffusionXL, "vae"),
        ("clip-l", ModelPreset.StableDiffusion15, "text_encoder"),
        ("open-clip-h", ModelPreset.StableDiffusion21, "text_encoder"),
        ("open-clip-bigg", ModelPreset.StableDiffusionXL, "text_encoder_2"),
    ];

    /// <summary>Every name.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. s_all.Select(entry => entry.Name)];

    /// <summary>Pixels of a picture along one side for each position of what the network works on: 1 for pictures themselves, 8 for latents, 0 for text.</summary>
    /// <param name="name">The network's name.</param>
    public static int PixelsPerPosition(string name) => name.Contains("clip", StringComparison.Ordinal) ? 0 : name.StartsWith("ddpm", StringComparison.Ordinal) ? 1 : 8;

    /// <summary>A network's <c>config.json</c>.</summary>
    /// <exception cref="InvalidRequestException">There is no such network; the message lists all.</exception>
    public static JsonConfig Config(string name) => Read(name, component: null);

    /// <summary>The <c>scheduler_config.json</c> of the model that a network belongs to.</summary>
    /// <exception cref="InvalidRequestException">There is no such network; the message lists all.</exception>
    public static JsonConfig SchedulerConfig(string name) => Read(name, "scheduler");

    /// <summary>A network.</summary>
    /// <exception cref="InvalidRequestException">There is no such network; the message lists all.</exception>
    public static INetwork Create(string name) => NetworkRegistry.Create(Config(name));

    private static JsonConfig Read(string name, string? component)
    {
        (string found, string preset, string network) = s_all.FirstOrDefault(entry => entry.Name == name);
        if (found is null) throw new InvalidRequestException("architecture", $"expected one of {string.Join(", ", Names)}, found {name}");
        return JsonConfig.Parse(name, Encoding.UTF8.GetString(ModelPreset.Text(ModelPreset.Read(preset)[component ?? network]!.AsObject())));
    }
}

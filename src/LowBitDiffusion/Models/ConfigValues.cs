using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models;

/// <summary>Configuration values that are names out of a list. A name that is not in it is an error that shows the list.</summary>
internal static class ConfigValues
{
    /// <summary>The meaning of a configuration's string.</summary>
    /// <param name="config">Configuration.</param>
    /// <param name="key">Its key.</param>
    /// <param name="whenMissing">The string if the key is missing.</param>
    /// <param name="known">Meanings.</param>
    /// <exception cref="ModelFormatException">The string has no meaning.</exception>
    public static T OneOf<T>(JsonConfig config, string key, string whenMissing, Dictionary<string, T> known) => Meaning(config, key, config.GetNullableString(key, whenMissing), known);

    /// <summary><see cref="OneOf{T}(JsonConfig, string, string, Dictionary{string, T})"/> with a meaning for an explicit null.</summary>
    public static T OneOf<T>(JsonConfig config, string key, string? whenMissing, Dictionary<string, T> known, T whenNull) =>
        config.GetNullableString(key, whenMissing) is { } name ? Meaning(config, key, name, known) : whenNull;

    /// <summary>The meaning of one string, e.g. of a list's entry.</summary>
    public static T Meaning<T>(JsonConfig config, string key, string? name, Dictionary<string, T> known) =>
        name is not null && known.TryGetValue(name, out T? meaning)
            ? meaning
            : throw Error(config, key, $"expected {string.Join(", ", known.Keys)}; found {name ?? "null"}, which is not supported");

    /// <summary>Refuses settings that nobody read, except those named and what the files say about themselves.</summary>
    /// <exception cref="ModelFormatException">There are settings that may change the arithmetic and are not known.</exception>
    public static void RejectUnknown(JsonConfig config, params ReadOnlySpan<string> withoutEffect) =>
        config.RejectUnknown(new HashSet<string>([.. withoutEffect, "architectures", "quantization_config"]));

    /// <summary>A value that this library does not support.</summary>
    public static ModelFormatException Error(JsonConfig config, string key, string problem) => new(config.File, key, problem);

    /// <summary>An activation function by diffusers' name.</summary>
    public static ActivationKind Activation(JsonConfig config, string key, string whenMissing) => OneOf<ActivationKind>(config, key, whenMissing, new()
    {
        ["silu"] = ActivationKind.Silu,
        ["swish"] = ActivationKind.Silu,
        ["gelu"] = ActivationKind.Gelu,
        ["gelu-approximate"] = ActivationKind.GeluTanh,
        ["gelu_new"] = ActivationKind.GeluTanh,
        ["quick_gelu"] = ActivationKind.QuickGelu,
    });
}

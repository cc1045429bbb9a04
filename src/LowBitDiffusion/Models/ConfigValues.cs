using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models;

/// <summary>Configuration values within bounds: names out of a list (a name that is not in it is an error that shows the list), and numbers that a network can be built of.</summary>
internal static class ConfigValues
{
    // Far above every published network, far below where products of two or three overflow.
    private const int MaxSize = 1 << 16, MaxCount = 1 << 10, MaxBlocks = 16;

    /// <summary>An extent: channels, rows of a kernel.</summary>
    public static int Size(JsonConfig config, string key, int? whenMissing = null, int most = MaxSize) => Within(config, key, config.GetInt(key, whenMissing), most);

    /// <summary>An extent or null.</summary>
    public static int? OptionalSize(JsonConfig config, string key, int? whenMissing = null) =>
        config.GetNullableInt(key, whenMissing) is { } size ? Within(config, key, size, MaxSize) : null;

    /// <summary>A number of layers or heads.</summary>
    public static int Count(JsonConfig config, string key, int? whenMissing = null) => Size(config, key, whenMissing, MaxCount);

    /// <summary>Height and width that the network was trained for: <c>sample_size</c>, one number or two.</summary>
    public static (int Height, int Width) SampleSize(JsonConfig config, int whenMissing)
    {
        const string key = "sample_size";
        int[] size = config.HasValue(key) ? config.GetIntPerBlock(key, 2) : [whenMissing, whenMissing];
        return (Within(config, key, size[0], MaxSize), Within(config, key, size[1], MaxSize));
    }

    /// <summary>Channels of each block.</summary>
    public static int[] BlockChannels(JsonConfig config, int[]? whenMissing = null)
    {
        const string key = "block_out_channels";
        int[] channels = config.GetIntArray(key, whenMissing);
        if (channels.Length is 0 or > MaxBlocks) throw Error(config, key, $"expected 1 to {MaxBlocks} blocks, found {channels.Length}");
        return [.. channels.Select(size => Within(config, key, size, MaxSize))];
    }

    /// <summary>A number of layers or heads for each block, or one for all.</summary>
    public static int[] CountPerBlock(JsonConfig config, string key, int blocks, int whenMissing) => SizePerBlock(config, key, blocks, whenMissing, MaxCount);

    /// <summary>An extent for each block, or one for all.</summary>
    public static int[] SizePerBlock(JsonConfig config, string key, int blocks, int whenMissing, int most = MaxSize) =>
        [.. config.GetIntPerBlock(key, blocks, whenMissing).Select(size => Within(config, key, size, most))];

    /// <summary>One of a few numbers.</summary>
    public static int OneOfNumbers(JsonConfig config, string key, int whenMissing, params ReadOnlySpan<int> known)
    {
        int value = config.GetInt(key, whenMissing);
        return known.Contains(value) ? value : throw Error(config, key, $"expected {string.Join(", ", known.ToArray())}; found {value}, which is not supported");
    }

    private static int Within(JsonConfig config, string key, int value, int most) =>
        value >= 1 && value <= most ? value : throw Error(config, key, $"expected 1 to {most}, found {value}");

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

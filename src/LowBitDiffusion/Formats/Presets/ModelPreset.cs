using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LowBitDiffusion.Formats.Presets;

/// <summary>Configurations of published models: whole models by name, a JSON object per component and <c>model_index</c>.</summary>
internal static class ModelPreset
{
    public const string StableDiffusion15 = "sd15", StableDiffusion21 = "sd21", StableDiffusionXL = "sdxl", DiTXL2 = "dit-xl-2", DdpmCifar10 = "ddpm-cifar10";

    /// <summary>A model's configurations, the caller's to change.</summary>
    public static JsonObject Read(string name) => JsonNode.Parse(Resource($"{name}.json"))!.AsObject();

    /// <summary>A configuration as text for people.</summary>
    public static byte[] Text(JsonObject json) => JsonSerializer.SerializeToUtf8Bytes(
        json, new JsonSerializerOptions { WriteIndented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    /// <summary>A file beside this class.</summary>
    public static byte[] Resource(string file)
    {
        using Stream stream = typeof(ModelPreset).Assembly.GetManifestResourceStream($"presets/{file}") ?? throw new ArgumentException($"no preset '{file}'", nameof(file));
        byte[] bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}

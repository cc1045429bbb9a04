using System.Text.Json;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Formats;

/// <summary>The file <c>prediction_correction.json</c> beside a quantized network; docs/format.md describes it.</summary>
public static class PredictionCorrectionFile
{
    /// <summary>Its name in the network's folder.</summary>
    public const string Name = "prediction_correction.json";

    private const string Method = "ptqd";
    private const int Version = 1;

    /// <summary>Reads a network's correction; null if it has none.</summary>
    /// <param name="folder">The network's folder.</param>
    /// <exception cref="ModelFormatException">The file is damaged, of a newer version or of another method.</exception>
    public static PredictionCorrection? Read(string folder)
    {
        string path = Path.Combine(folder, Name);
        if (!File.Exists(path)) return null;
        JsonConfig json = JsonConfig.Open(path);
        json.GetOneOf("method", null, Method);
        int version = json.GetInt("format_version");
        if (version is < 1 or > Version) throw new ModelFormatException(path, "format_version", $"expected 1 to {Version}, found {version}{(version > Version ? "; the file is newer than this library" : "")}");
        float[] timesteps = [.. json.GetDoubleArray("timesteps").Select(value => (float)value)];
        (double[] slopes, double[] biases, double[] deviations) = (json.GetDoubleArray("slope"), json.GetDoubleArray("bias"), json.GetDoubleArray("deviation"));
        (int channels, float guidance) = (json.GetInt("channels"), json.GetFloat("guidance_scale"));
        json.GetObject("collection");
        json.RejectUnknown(new HashSet<string>());
        try
        {
            return new PredictionCorrection(timesteps, slopes, biases, deviations, channels, guidance);
        }
        catch (ArgumentException e)
        {
            throw new ModelFormatException(path, null, e.Message, e);
        }
    }

    /// <summary>Writes a network's correction, in place of one that is there.</summary>
    /// <param name="folder">The network's folder.</param>
    /// <param name="correction">The correction.</param>
    /// <param name="collection">How it was collected, any JSON object; for people.</param>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public static void Write(string folder, PredictionCorrection correction, JsonElement collection)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            json.WriteString("method", Method);
            json.WriteNumber("format_version", Version);
            json.WriteNumber("guidance_scale", correction.GuidanceScale);
            json.WriteNumber("channels", correction.Channels);
            json.WriteStartArray("timesteps");
            foreach (float timestep in correction.Timesteps) json.WriteNumberValue(timestep);
            json.WriteEndArray();
            WriteArray(json, "slope", correction.Slopes);
            WriteArray(json, "bias", correction.Biases);
            WriteArray(json, "deviation", correction.Deviations);
            json.WritePropertyName("collection");
            collection.WriteTo(json);
            json.WriteEndObject();
        }

        OutputFile.WriteAllBytes(Path.Combine(folder, Name), stream.ToArray());
    }

    private static void WriteArray(Utf8JsonWriter json, string name, ReadOnlySpan<double> values)
    {
        json.WriteStartArray(name);
        foreach (double value in values) json.WriteNumberValue(value);
        json.WriteEndArray();
    }
}

using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>The golden cases: <c>LBD_GOLDEN</c>, else tests/golden above the test assembly.</summary>
internal static class Golden
{
    /// <summary>All golden files of a quantizer method: those whose name starts with it, so that further files of a kind are found.</summary>
    public static IReadOnlyList<GoldenCase> Quantizers(string method)
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(Repository.Golden("index.json")));
        return [.. index.RootElement.GetProperty("cases").EnumerateArray()
            .Where(c => c.GetProperty("kind").GetString() == "quantizer")
            .Select(c => c.GetProperty("name").GetString()!)
            .Where(name => Path.GetFileName(name).StartsWith(method, StringComparison.Ordinal))
            .Select(name => new GoldenCase(name))];
    }
}

/// <summary>One JSON file with its tensors.</summary>
internal sealed class GoldenCase
{
    private readonly SafeTensorsFile _tensors;

    public GoldenCase(string name)
    {
        Name = name;
        Json = JsonDocument.Parse(File.ReadAllText(Repository.Golden($"{name}.json"))).RootElement;
        _tensors = SafeTensorsFile.Open(Repository.Golden($"{name}.safetensors"));
    }

    public string Name { get; }

    public JsonElement Json { get; }

    public IEnumerable<string> TensorNames => _tensors.Tensors.Keys;

    public float[] this[string tensor] => _tensors.ReadSingles(tensor);

    public int[] Shape(string tensor) => [.. _tensors.Tensors[tensor].Shape.Select(d => (int)d)];

    public double Tolerance(string key) => Json.GetProperty("tolerance").GetProperty(key).GetDouble();

    /// <summary>Names under a key: the elements of an array or the properties of an object.</summary>
    public IReadOnlyList<string> Names(string key)
    {
        JsonElement cases = Json.GetProperty(key);
        return cases.ValueKind == JsonValueKind.Array ? [.. cases.EnumerateArray().Select(c => c.GetString()!)] : [.. cases.EnumerateObject().Select(p => p.Name)];
    }
}

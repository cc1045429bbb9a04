using System.Text.Json;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.Tests.Golden;

/// <summary>A golden case of kind "op": tensors in NCHW, parameters, tolerance.</summary>
internal sealed class GoldenOp(string name, JsonElement description, Dictionary<string, GoldenTensor> tensors)
{
    public string Name => name;

    public string Op => description.GetProperty("op").GetString()!;

    public string Definition => description.GetProperty("definition").GetString()!;

    public JsonElement Parameters => description.GetProperty("params");

    public float MaxAbs => description.GetProperty("tolerance").GetProperty("max_abs").GetSingle();

    public GoldenTensor this[string tensor] => tensors[tensor];

    public GoldenTensor? Find(string tensor) => tensors.GetValueOrDefault(tensor);

    /// <summary>Names of all op cases in the index.</summary>
    public static IEnumerable<string> Names
    {
        get
        {
            using JsonDocument index = JsonDocument.Parse(File.ReadAllText(Repository.Golden("index.json")));
            return [.. index.RootElement.GetProperty("cases").EnumerateArray().Where(c => c.GetProperty("kind").GetString() == "op").Select(c => c.GetProperty("name").GetString()!)];
        }
    }

    public static GoldenOp Load(string name)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(Repository.Golden(name + ".json")));
        return new GoldenOp(name, json.RootElement.Clone(), SafeTensors.Read(Repository.Golden(name + ".safetensors")));
    }

    public override string ToString() => name;
}

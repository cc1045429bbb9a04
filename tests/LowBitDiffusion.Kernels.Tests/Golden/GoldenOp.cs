using System.Text.Json;

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

    public static string Folder => Environment.GetEnvironmentVariable("LBD_GOLDEN") ?? Upwards(AppContext.BaseDirectory);

    /// <summary>Names of all op cases in the index.</summary>
    public static IEnumerable<string> Names
    {
        get
        {
            using JsonDocument index = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, "index.json")));
            return [.. index.RootElement.GetProperty("cases").EnumerateArray().Where(c => c.GetProperty("kind").GetString() == "op").Select(c => c.GetProperty("name").GetString()!)];
        }
    }

    public static GoldenOp Load(string name)
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, name + ".json")));
        return new GoldenOp(name, json.RootElement.Clone(), SafeTensors.Read(Path.Combine(Folder, name + ".safetensors")));
    }

    public override string ToString() => name;

    private static string Upwards(string start)
    {
        for (DirectoryInfo? folder = new(start); folder != null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "tests", "golden");
            if (File.Exists(Path.Combine(candidate, "index.json"))) return candidate;
        }

        throw new DirectoryNotFoundException($"no tests/golden above {start}");
    }
}

using System.Text.Json.Nodes;

namespace LowBitDiffusion.Tests.Schedulers;

/// <summary>The golden cases of random numbers and schedulers: LBD_GOLDEN, or tests/golden above the test assembly.</summary>
internal static class SamplingGoldens
{
    public static string Root { get; } = Environment.GetEnvironmentVariable("LBD_GOLDEN") ?? FindRoot();

    public static IEnumerable<JsonObject> Cases(string kind) =>
        Read("index.json")["cases"]!.AsArray().Select(item => item!.AsObject()).Where(item => (string?)item["kind"] == kind);

    public static JsonObject Read(string file) => JsonNode.Parse(File.ReadAllText(Path.Combine(Root, file)))!.AsObject();

    public static float[] Floats(this JsonNode? node) => [.. node!.AsArray().Select(item => (float)item!)];

    public static int[] Integers(this JsonNode? node) => [.. node!.AsArray().Select(item => (int)item!)];

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            string candidate = Path.Combine(folder.FullName, "tests", "golden");
            if (File.Exists(Path.Combine(candidate, "index.json"))) return candidate;
        }

        throw new DirectoryNotFoundException("tests/golden is not above the test assembly and LBD_GOLDEN is not set");
    }
}

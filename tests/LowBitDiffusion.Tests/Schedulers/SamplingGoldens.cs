using System.Text.Json.Nodes;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Schedulers;

/// <summary>The golden cases of random numbers and schedulers: LBD_GOLDEN, or tests/golden above the test assembly.</summary>
internal static class SamplingGoldens
{
    public static IEnumerable<JsonObject> Cases(string kind) =>
        Read("index.json")["cases"]!.AsArray().Select(item => item!.AsObject()).Where(item => (string?)item["kind"] == kind);

    public static JsonObject Read(string file) => JsonNode.Parse(File.ReadAllText(Repository.Golden(file)))!.AsObject();

    public static float[] Floats(this JsonNode? node) => [.. node!.AsArray().Select(item => (float)item!)];

    public static int[] Integers(this JsonNode? node) => [.. node!.AsArray().Select(item => (int)item!)];
}

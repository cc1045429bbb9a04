using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Shared;
using LowBitDiffusion.Verification;

namespace LowBitDiffusion.Tests.Models;

/// <summary>Every network gives what diffusers gives, from end to end and module by module, on every executor.</summary>
[Category("Execution")]
public sealed class GoldenModelTests
{
    private static readonly Dictionary<string, GoldenExecutor> Executors = new()
    {
        ["reference"] = GoldenExecutors.Reference,
        ["planned"] = GoldenExecutors.Planned(new WorkerPool(2)),
    };

    public static IEnumerable<TestCaseData> Runs()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllBytes(Repository.Golden("index.json")));
        foreach (JsonElement entry in index.RootElement.GetProperty("cases").EnumerateArray())
        {
            if (entry.GetProperty("kind").GetString() != "model" || !NetworkRegistry.ClassNames.Contains(entry.GetProperty("class").GetString())) continue;
            string name = entry.GetProperty("name").GetString()!;
            foreach (JsonElement run in entry.GetProperty("runs").EnumerateArray())
                foreach (string executor in Executors.Keys)
                    yield return new TestCaseData(name, run.GetProperty("file").GetString(), executor).SetArgDisplayNames(name, run.GetProperty("label").GetString()!, executor);
        }
    }

    [TestCaseSource(nameof(Runs))]
    public void Outputs_and_activations_are_within_tolerance(string name, string run, string executor)
    {
        using GoldenCase golden = GoldenCase.Open(Repository.Golden(name));

        IReadOnlyList<GoldenComparison> comparisons = golden.Run(run, Executors[executor]);

        Assert.That(comparisons.Select(comparison => comparison.Name), Has.Some.StartsWith("out."), "nothing was compared");
        Assert.That(comparisons.Where(comparison => !comparison.Passed), Is.Empty, "tensors out of tolerance");
    }

    [Test]
    public void Every_captured_module_is_compared([Values("unet2d_class", "unet2d_scale_shift")] string name, [Values("reference", "planned")] string executor)
    {
        using GoldenCase golden = GoldenCase.Open(Repository.Golden(name));
        using SafeTensorsFile io = SafeTensorsFile.Open(Repository.Golden(name, "io.safetensors"));

        IReadOnlyList<GoldenComparison> comparisons = golden.Run("io.safetensors", Executors[executor]);

        Assert.That(comparisons.Select(comparison => comparison.Name), Is.EquivalentTo(io.Tensors.Keys.Where(key => !key.StartsWith("in."))));
    }
}

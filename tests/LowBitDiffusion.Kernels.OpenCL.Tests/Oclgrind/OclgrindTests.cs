using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Oclgrind;

/// <summary>oclgrind, a simulator of OpenCL devices, finds no race, no access out of bounds and no wrong call in any kernel.</summary>
[Category("Oclgrind")]
public sealed class OclgrindTests
{
    private string _folder = null!;

    [SetUp]
    public void Make() => _folder = Directory.CreateTempSubdirectory("lbd-oclgrind").FullName;

    [TearDown]
    public void Remove() => Directory.Delete(_folder, recursive: true);

    [TestCase(nameof(SimulatedKernelTests.Integer_layers))]
    [TestCase(nameof(SimulatedKernelTests.A_network))]
    [TestCase(nameof(SimulatedKernelTests.Elements))]
    public void Kernels_have_no_races_and_stay_within_their_memory(string test) => Assert.That(Report(test), Is.Empty);

    [Test]
    public void A_missing_barrier_is_noticed() => Assert.That(Report(SimulatedKernelTests.ControlCategory), Does.Contain("data race").And.Contain("layer_moments"));

    // The simulator as the only driver of a process: its loader reads the folder of drivers from a variable.
    private string Report(string category)
    {
        string[] places = [.. Environment.GetEnvironmentVariable("LBD_OCLGRIND") is { Length: > 0 } given ? [given] : Array.Empty<string>(), "/usr/lib/oclgrind/liboclgrind-rt-icd.so", "/usr/lib/x86_64-linux-gnu/oclgrind/liboclgrind-rt-icd.so", "/usr/local/lib/oclgrind/liboclgrind-rt-icd.so"];
        if (places.FirstOrDefault(File.Exists) is not { } driver)
        {
            Assert.Ignore($"oclgrind is not installed: none of {string.Join(", ", places)} exists");
            return "";
        }

        string log = Path.Combine(_folder, "log.txt");
        File.WriteAllText(Path.Combine(_folder, "oclgrind.icd"), driver);
        ChildTestRun.AssertPasses(
            typeof(OclgrindTests).Assembly, category, ("OCL_ICD_VENDORS", _folder), ("OCLGRIND_DATA_RACES", "1"), ("OCLGRIND_CHECK_API", "1"), ("OCLGRIND_LOG", log), (SimulatedKernelTests.Variable, "1"));
        return File.Exists(log) ? File.ReadAllText(log).Trim() : "";
    }
}

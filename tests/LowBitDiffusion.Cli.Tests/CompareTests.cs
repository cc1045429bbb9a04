using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd compare</c> puts quantized models beside their float model.</summary>
public sealed class CompareTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task Everything_is_in_the_folder()
    {
        LbdResult result = await Lbd.SucceedAsync("compare", SharedModels.Quantized, "--reference", SharedModels.Float, "--count", "3", "--steps", "2", "--out", _folder["out"]);

        Assert.That(result.Out, Does.Contain("tiny-w4a8").And.Contain(" dB").And.Contain("bit operations per step"));
        Assert.That(_folder.Entries, Is.SupersetOf(new[] { "out/cache", "out/comparison.json", "out/comparison.md", "out/sheet.png", "out/trajectory.png", "out/trajectory.svg" }));
        JsonElement json = JsonDocument.Parse(File.ReadAllText(_folder["out/comparison.json"])).RootElement;
        Assert.That(json.GetProperty("models")[0].GetProperty("trajectory").GetArrayLength(), Is.EqualTo(2));
        Assert.That(File.ReadAllText(_folder["out/comparison.md"]), Does.Contain("| tiny-w4a8 |").And.Contain("| tiny      |"));
        Assert.That(PngReader.Load(_folder["out/sheet.png"]).Image.Height, Is.GreaterThan(2 * 48), "two rows");
    }

    [Test]
    public async Task Without_a_folder_nothing_is_left()
    {
        LbdResult result = await Lbd.SucceedAsync("compare", SharedModels.Quantized, "--reference", SharedModels.Float, "--count", "2", "--steps", "1", "--json");
        Assert.That(result.Json.GetProperty("reference").GetProperty("precision").GetString(), Is.EqualTo("float"));
        Assert.That(result.Json.GetProperty("models")[0].GetProperty("psnr").GetDouble(), Is.InRange(3, 80));
    }
}

using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Imaging;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd evaluate</c> compares two models seed by seed.</summary>
public sealed class EvaluateTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task A_model_equals_itself()
    {
        LbdResult result = await Evaluate(SharedModels.Float, "--json");

        Assert.That(result.Json.GetProperty("mean_ssim").GetDouble(), Is.EqualTo(1).Within(1e-9));
        Assert.That(result.Json.TryGetProperty("mean_psnr", out _), Is.False, "no pair differs");
    }

    [Test]
    public async Task Every_pair_is_in_the_report_and_on_the_sheet()
    {
        LbdResult result = await Evaluate(SharedModels.Quantized, "--out", _folder["report.json"], "--sheet", _folder["sheet.png"]);

        Assert.That(result.Out, Does.Contain("PSNR").And.Contain("SSIM"));
        Assert.That(System.Text.Json.JsonDocument.Parse(File.ReadAllText(_folder["report.json"])).RootElement.GetProperty("pairs").GetArrayLength(), Is.EqualTo(3));
        Image sheet = PngReader.Load(_folder["sheet.png"]).Image;
        Assert.That(sheet.Height, Is.GreaterThan(2 * 16), "two rows");
    }

    private static Task<LbdResult> Evaluate(string model, params string[] options) =>
        Lbd.SucceedAsync(["evaluate", "--model", model, "--reference", SharedModels.Float, "--count", "3", "--steps", "2", .. options]);
}

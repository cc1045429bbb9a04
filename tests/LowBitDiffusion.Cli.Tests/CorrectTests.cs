using LowBitDiffusion.Cli.Tests.Support;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd correct</c>, and <c>--ptqd</c> of <c>lbd quantize</c>.</summary>
public sealed class CorrectTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task A_model_is_corrected_inspected_and_as_before()
    {
        string model = TinyModel.Copy(SharedModels.Quantized, _folder["model"]);
        LbdResult result = await Lbd.SucceedAsync("correct", "--model", model, "--reference", SharedModels.Float, "--images", "2", "--batch", "2");
        Assert.That(result.Out, Does.Contain("MSE before").And.Contain("MSE after"));
        LbdResult inspected = await Lbd.SucceedAsync("inspect", model);
        Assert.That(inspected.Out, Does.Contain("prediction correction").And.Contain("3 timesteps, guidance 1.25"));
        LbdResult removed = await Lbd.SucceedAsync("correct", "--model", model, "--remove");
        Assert.That(removed.Out, Does.Contain("is removed"));
        Assert.That((await Lbd.SucceedAsync("inspect", model)).Out, Does.Not.Contain("prediction correction"));
    }

    [Test]
    public async Task Quantizing_can_correct_as_well()
    {
        await Lbd.SucceedAsync("quantize", "--model", SharedModels.Float, "--out", _folder["out"], "--images", "2", "--batch", "2", "--report-images", "0", "--ptqd");
        Assert.That((await Lbd.SucceedAsync("inspect", _folder["out"], "--json")).Json.GetProperty("correction").GetProperty("timesteps").GetInt32(), Is.EqualTo(3));
    }

    [Test]
    public async Task A_damaged_correction_is_refused()
    {
        string model = TinyModel.Copy(SharedModels.Quantized, _folder["model"]);
        File.WriteAllText(Path.Combine(model, "unet", "prediction_correction.json"), """{"method": "ptqd", "format_version": 1}""");
        LbdResult result = await Lbd.RunAsync("generate", "--model", model, "--out", _folder["x.png"]);
        Assert.That(result.ExitCode, Is.Not.Zero);
        Assert.That(result.Error, Does.Contain("prediction_correction.json"));
    }
}

using LowBitDiffusion.Cli.Tests.Support;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd convert</c> writes a model that runs, or nothing.</summary>
public sealed class ConvertTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task Halves_take_half_the_room_and_draw()
    {
        LbdResult result = await Lbd.SucceedAsync("convert", "--model", SharedModels.Float, "--out", _folder["half"], "--float-type", "f16");

        const string weights = "unet/diffusion_pytorch_model.safetensors";
        double ratio = (double)new FileInfo(Path.Combine(_folder["half"], weights)).Length / new FileInfo(Path.Combine(SharedModels.Float, weights)).Length;
        Assert.That(result.Out, Does.Contain(_folder["half"]));
        Assert.That(ratio, Is.EqualTo(0.5).Within(0.1));
        await Lbd.SucceedAsync("generate", "--model", _folder["half"], "--out", _folder["picture.png"], "--label", "1");
    }

    [TestCase("--float-type", "f8", "expected one of f32, f16, bf16")]
    [TestCase("--model", "none", "no such folder")]
    public async Task What_cannot_be_converted_leaves_nothing(string option, string value, string says)
    {
        string[] model = option == "--model" ? [] : ["--model", SharedModels.Float];
        LbdResult result = await Lbd.RunAsync(["convert", .. model, "--out", _folder["out"], option, value]);

        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Error, Does.Contain(says));
        Assert.That(_folder.Entries, Is.Empty);
    }

    [Test]
    public async Task A_quantized_model_is_refused()
    {
        LbdResult result = await Lbd.RunAsync("convert", "--model", SharedModels.Quantized, "--out", _folder["out"]);
        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Error, Does.Contain("expected a float model"));
    }
}

using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>--component</c>: autoencoders and text encoders of a model are quantized, shown, compared and drawn with as its denoiser is.</summary>
public sealed class ComponentTests
{
    private static readonly string[] s_size = ["--height", "16", "--width", "16", "--steps", "2"];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp()
    {
        _folder = new TemporaryFolder();
        TinyFolder.StableDiffusion(_folder["float"]);
    }

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task A_folder_with_quantized_components_is_a_model_like_any_other()
    {
        _folder.Write("prompts.txt", "a cat\na dog\n");
        await Quantize("float", "vae", "vae", "--images", "2", "--attention", "int8");
        LbdResult result = await Quantize("vae", "text_encoder", "low", "--prompts", _folder["prompts.txt"], "--method", "tfmq", "--iterations", "2");
        Assert.That(result.Json.GetProperty("outputs").EnumerateArray().Select(output => output.GetProperty("output").GetString()), Is.EqualTo(new[] { "penultimate_hidden_state", "last_hidden_state" }));

        await Draw("low", "picture.png");
        await Draw("low", "again.png");
        Assert.That(File.ReadAllBytes(_folder["again.png"]), Is.EqualTo(File.ReadAllBytes(_folder["picture.png"])), "the same bytes");
        await Draw("float", "float.png");
        Assert.That(PngReader.Load(_folder["float.png"]).Image.Pixels, Is.Not.EqualTo(PngReader.Load(_folder["picture.png"]).Image.Pixels), "another model");

        JsonElement vae = (await Lbd.SucceedAsync("inspect", _folder["low"], "--component", "vae", "--json")).Json, text = (await Lbd.SucceedAsync("inspect", _folder["low"], "--component", "text_encoder", "--json")).Json;
        Assert.That((vae.GetProperty("method").GetString(), text.GetProperty("method").GetString()), Is.EqualTo(("mse", "tfmq")));
        Assert.That(vae.GetProperty("attention").GetString(), Is.EqualTo("int8"));
        string[] modules = [.. vae.GetProperty("modules").EnumerateArray().Select(module => module.GetProperty("module").GetString()!)];
        Assert.That(modules, Has.Some.StartWith("encoder.").And.Some.StartWith("decoder."), "both halves");
        Assert.That(vae.GetProperty("modules").EnumerateArray().Select(module => module.GetProperty("weight_bits").GetInt32()), Is.All.EqualTo(8));
        Assert.That((await Lbd.SucceedAsync("inspect", Path.Combine(_folder["low"], "text_encoder"))).Out, Does.Contain("quantized by").And.Contain("tfmq"), "the folder alone");
        Assert.That((await Lbd.SucceedAsync("inspect", _folder["low"])).Out, Does.Contain("not quantized"), "the denoiser");

        JsonElement compared = (await Lbd.SucceedAsync(["compare", _folder["low"], "--reference", _folder["float"], "--out", _folder["comparison"], "--count", "2", "--json", "--size", "16", "--steps", "2"])).Json;
        JsonElement model = compared.GetProperty("models")[0];
        Assert.That((model.GetProperty("method").GetString(), model.GetProperty("precision").GetString()), Is.EqualTo(("mse, tfmq", "float, vae w8a8, text_encoder w8a8")));
        Assert.That(model.GetProperty("psnr").GetDouble(), Is.InRange(20, 100));
    }

    [Test]
    public async Task Quantized_components_run_on_a_device()
    {
        if (OpenClDevice.All(out string? reason) is not [{ Refusal: null }, ..]) Assert.Ignore($"no device: {reason}");
        await Quantize("float", "vae", "vae", "--images", "1");
        await Quantize("vae", "text_encoder", "low");
        await Draw("low", "host.png");
        await Draw("low", "device.png", "--device", "opencl:0");
        int[] differences = [.. PngReader.Load(_folder["host.png"]).Image.Pixels.Zip(PngReader.Load(_folder["device.png"]).Image.Pixels, (a, b) => Math.Abs(a - b))];
        Assert.That(differences.Average(), Is.LessThan(2), "mean difference of the pixels, of 255");
        await Lbd.SucceedAsync("inspect", _folder["low"], "--component", "vae", "--device", "opencl:0");
    }

    [TestCase("quantize", "tokenizer", "vae (AutoencoderKL)")]
    [TestCase("inspect", "tokenizer", "text_encoder")]
    [TestCase("quantize", "vae", "--ptqd", "predictions are corrected")]
    public async Task What_there_is_not_is_named(string command, string component, params string[] rest)
    {
        string[] options = command == "inspect" ? [_folder["float"]] : ["--model", _folder["float"], "--out", _folder["low"], .. rest[..^1]];
        LbdResult result = await Lbd.RunAsync([command, .. options, "--component", component]);
        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Error, Does.Contain(rest[^1]).And.Contain(component));
    }

    [Test]
    public async Task Rules_of_a_component_are_listed() =>
        Assert.That((await Lbd.SucceedAsync("quantize", "--model", _folder["float"], "--component", "vae", "--list-rules", "-w", "4", "-a", "4")).Out, Does.Match(@"encoder\.conv_in +\| w8a8").And.Match(@"decoder\.mid_block\.attentions\.0\.to_q +\| w4a4"));

    private Task<LbdResult> Quantize(string from, string component, string to, params string[] options) => Lbd.SucceedAsync(
        ["quantize", "--model", _folder[from], "--component", component, "--out", _folder[to], "--weight-bits", "8", "--size", "16", "--steps", "2", "--report-images", "1", "--json", .. options]);

    private Task<LbdResult> Draw(string model, string picture, params string[] options) =>
        Lbd.SucceedAsync(["generate", "--model", _folder[model], "--prompt", "a cat", "--out", _folder[picture], .. s_size, .. options]);
}

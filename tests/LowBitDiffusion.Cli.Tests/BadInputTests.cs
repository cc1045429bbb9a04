using System.Text.Json.Nodes;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Cli.Tests;

/// <summary>Whatever is wrong with an input: exit code 2, one line that says what, where, expected and found, and nothing written.</summary>
public sealed class BadInputTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    /// <summary>Name, whether the model is the quantized one, how it is damaged, what the line must say.</summary>
    public static IEnumerable<TestCaseData> DamagedModels()
    {
        yield return Case("missing folder", false, m => Directory.Delete(m, true), "model", "no such folder");
        yield return Case("missing index", false, m => File.Delete(Path.Combine(m, "model_index.json")), "model_index.json");
        yield return Case("missing weights", false, m => File.Delete(TinyModel.Weights(m)), "unet", "no weights", "expected");
        yield return Case("missing scheduler", false, m => Directory.Delete(Path.Combine(m, "scheduler"), true), "scheduler");
        yield return Case("truncated weights", false, m => Truncate(TinyModel.Weights(m), 100_000), "diffusion_pytorch_model.safetensors");
        yield return Case("truncated header", false, m => Truncate(TinyModel.Weights(m), 100), "diffusion_pytorch_model.safetensors");
        yield return Case("empty weights", false, m => Truncate(TinyModel.Weights(m), 0), "diffusion_pytorch_model.safetensors");
        yield return Case("index is not JSON", false, m => File.WriteAllText(Path.Combine(m, "model_index.json"), "{"), "model_index.json");
        yield return Case("unknown architecture", false, m => TinyModel.EditJson(m, "unet/config.json", c => c["_class_name"] = "UNet9DModel"), "config.json", "UNet9DModel", "UNet2DModel");
        yield return Case("setting of another type", false, m => TinyModel.EditJson(m, "unet/config.json", c => c["layers_per_block"] = "two"), "config.json", "layers_per_block", "expected", "two");
        yield return Case("absent tensor", false, m => TinyModel.EditTensor(m, "conv_in.weight", (_, _) => null), "conv_in.weight", "expected", "[16, 1, 3, 3]");
        yield return Case("wrong shape", false, m => TinyModel.EditTensor(m, "conv_in.weight", (i, v) => (i with { Shape = [16, 9] }, Bytes(v))), "conv_in.weight", "expected", "[16, 1, 3, 3]", "found", "[16, 9]");
        yield return Case("wrong type of codes", true, m => TinyModel.EditTensor(m, "conv_in.weight", (i, v) => (new TensorInfo(i.Name, DType.F32, i.Shape), Bytes(v))), "conv_in.weight", "I8", "F32");
        yield return Case("absent scale", true, m => TinyModel.EditTensor(m, "conv_in.input_scale", (_, _) => null), "conv_in.input_scale");
        yield return Case("scale 0", true, m => TinyModel.EditValues(m, "conv_in.input_scale", s => s[1] = 0), "conv_in.input_scale", "must be finite and positive", "found 0");
        yield return Case("scale NaN", true, m => TinyModel.EditValues(m, "conv_in.input_scale", s => s[1] = float.NaN), "conv_in.input_scale", "NaN");
        yield return Case("scale infinite", true, m => TinyModel.EditValues(m, "conv_in.weight_scale", s => s[1] = float.PositiveInfinity), "conv_in.weight_scale", "∞|Infinity|inf");
        yield return Case("timesteps unsorted", true, m => EditTimesteps(m, t => t[0] = 500), "config.json", "timesteps", "ascending");
        yield return Case("timesteps of another number", true, m => EditTimesteps(m, t => t.RemoveAt(0)), "input_scale", "expected", "found");
        yield return Case("another quantization method", true, m => TinyModel.EditJson(m, "unet/config.json", c => c["quantization_config"]!["quant_method"] = "gptq"), "quant_method", "lowbit-diffusion", "gptq");
    }

    [TestCaseSource(nameof(DamagedModels))]
    public async Task A_damaged_model_is_named(bool quantized, Action<string> damage, string[] expected)
    {
        string model = TinyModel.Copy(quantized ? SharedModels.Quantized : SharedModels.Float, _folder["model"]);
        damage(model);

        AssertRefused(await Lbd.RunAsync("generate", "--model", model, "--out", _folder["picture.png"], "--label", "1", "--json"), expected);
        Assert.That(File.Exists(_folder["picture.png"]), Is.False, "no picture");
    }

    [TestCase("--steps 0", "steps", "expected 1 to 1000", "found 0")]
    [TestCase("--steps 1001", "steps", "expected 1 to 1000", "found 1001")]
    [TestCase("--label 10", "label", "0 to 9", "dress", "'10'")]
    [TestCase("--label -1", "label", "'-1'")]
    [TestCase("--label hat", "label", "'hat'")]
    [TestCase("--label 1,hat", "label", "'hat'")]
    [TestCase("--count 0", "count", "found 0")]
    [TestCase("--guidance NaN", "guidance", "NaN")]
    [TestCase("--eta 2", "eta", "expected 0 to 1", "found 2")]
    [TestCase("--seeds 1,x", "seeds", "'x'")]
    [TestCase("--seeds 1,2,3 --label 1,2", "seeds", "2", "found 3")]
    [TestCase("--seeds 1 --seed 2", "--seed", "both")]
    [TestCase("--noise jax", "noise", "torch-cpu, torch-cuda", "'jax'")]
    [TestCase("--threads 0", "threads", "found 0")]
    [TestCase("--batch 0", "batch", "found 0")]
    [TestCase("--scale 0", "scale", "found 0")]
    [TestCase("--scale 64 --count 1000", "scale", "GiB")]
    [TestCase("--columns 0", "columns", "found 0")]
    [TestCase("--memory-budget lots", "memory-budget", "512MB", "'lots'")]
    [TestCase("--memory-budget 100KB", "memory budget", "100.0 KiB", "weights", "activations")]
    [TestCase("--grid --single", "--grid", "--single", "both")]
    [TestCase("--single", "--single", "picture.png")]
    [TestCase("--like nothing.png", "nothing.png")]
    public async Task A_request_that_does_not_fit_is_refused(string options, params string[] expected)
    {
        LbdResult result = await Lbd.RunAsync(["generate", "--model", SharedModels.Float, "--out", _folder["picture.png"], "--json", .. options.Split(' ')]);

        AssertRefused(result, expected);
        Assert.That(_folder.Entries, Is.Empty, "nothing is written");
    }

    [Test]
    public async Task A_picture_that_lbd_did_not_draw_cannot_be_drawn_again()
    {
        string foreign = _folder["foreign.png"];
        Imaging.PngWriter.Save(foreign, new Imaging.Image(4, 4, 1));

        AssertRefused(await Lbd.RunAsync("generate", "--model", SharedModels.Float, "--like", foreign, "--out", _folder["x.png"]), ["foreign.png", "'lbd'", "found none"]);
    }

    [TestCase("picture.jpg")]
    [TestCase("picture.WEBP")]
    public async Task Only_png_is_written(string output) =>
        AssertRefused(await Lbd.RunAsync("generate", "--model", SharedModels.Float, "--out", _folder[output], "--json"), ["expected a .png file or a folder", output]);

    [TestCase("missing/picture.png", "no folder")]
    [TestCase("file.txt/picture.png", "file.txt")]
    [TestCase("folder.png", "is a folder")]
    [TestCase("/dev/full.png", "is a device")]
    [TestCase("/proc/picture.png", "cannot be written")]
    public async Task An_output_that_cannot_be_written_is_refused_before_the_work(string output, string problem)
    {
        if (output[0] == '/' && !Directory.Exists(Path.GetDirectoryName(output))) Assert.Ignore($"there is no {output} here");
        _folder.Write("file.txt", "");
        Directory.CreateDirectory(_folder["folder.png"]);
        string path = Path.IsPathRooted(output) ? output : _folder[output];

        AssertRefused(await Lbd.RunAsync("generate", "--model", SharedModels.Float, "--out", path, "--grid", "--json"), [output, problem]);
        AssertRefused(await Lbd.RunAsync("evaluate", "--model", SharedModels.Float, "--reference", SharedModels.Float, "--sheet", path, "--json"), [output, problem]);
    }

    [Test]
    public async Task A_full_disk_is_one_line()
    {
        if (!File.Exists("/dev/full")) Assert.Ignore("there is no /dev/full here");
        await using StreamWriter full = new(new FileStream("/dev/full", FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0)) { AutoFlush = true };
        StringWriter error = new();

        int code = await CommandLineApp.RunAsync(["inspect", SharedModels.Float, "--json"], full, error);

        AssertRefused(new LbdResult(code, "", error.ToString()), ["cannot write the result", "space"]);
    }

    [Test]
    public async Task Models_of_different_images_cannot_be_compared()
    {
        LbdResult result = await Lbd.RunAsync("evaluate", "--model", SharedModels.Colour, "--reference", SharedModels.Float, "--count", "2", "--json");

        AssertRefused(result, ["3x16x16", "1x16x16", "expected"]);
    }

    [TestCase("--steps 0", "steps", "found 0")]
    [TestCase("--steps 1001", "steps", "found 1001")]
    [TestCase("--weight-bits 1", "weight-bits", "2 to 8", "found 1")]
    [TestCase("--activation-bits 9", "activation-bits", "2 to 8", "found 9")]
    [TestCase("--images 0", "images", "found 0")]
    [TestCase("--range best", "range", "mse, grid, minmax, ema", "'best'")]
    [TestCase("--rule mid_block", "rule", "'mid_block'")]
    [TestCase("--rule mid_block.*=w1a8", "w1a8")]
    [TestCase("--rule no_such_layer=w8a8", "no_such_layer", "none of the")]
    [TestCase("--group-size -1", "group-size", "found -1")]
    [TestCase("--float-type f8", "float-type", "f32, f16, bf16", "'f8'")]
    public async Task Quantizing_refuses_what_it_cannot_do(string options, params string[] expected)
    {
        LbdResult result = await Lbd.RunAsync(["quantize", "--model", SharedModels.Float, "--out", _folder["out"], "--json", .. options.Split(' ')]);

        AssertRefused(result, expected);
        Assert.That(_folder.Entries, Is.Empty, "nothing is written");
    }

    [Test]
    public async Task A_quantized_model_is_not_quantized_again() =>
        AssertRefused(await Lbd.RunAsync("quantize", "--model", SharedModels.Quantized, "--out", _folder["out"], "--json"), ["quantized already"]);

    [TestCase(new[] { "verify", "nowhere" }, new[] { "nowhere", "no such folder" })]
    [TestCase(new[] { "inspect", "nowhere" }, new[] { "nowhere", "no such folder" })]
    [TestCase(new[] { "bench", "--model", "nowhere", "--json" }, new[] { "nowhere", "no such folder" })]
    [TestCase(new[] { "quantize", "--model", "nowhere", "--out", "x", "--json" }, new[] { "nowhere", "no such folder" })]
    [TestCase(new[] { "quantize", "--out", "x" }, new[] { "model", "found none" })]
    [TestCase(new[] { "evaluate", "--model", "nowhere", "--reference", "nowhere", "--json" }, new[] { "nowhere", "no such folder" })]
    [TestCase(new[] { "evaluate", "--model", "nowhere", "--reference", "nowhere", "--classifier", "neither" }, new[] { "neither" })]
    public async Task What_does_not_exist_is_named(string[] args, string[] expected) => AssertRefused(await Lbd.RunAsync(args), expected);

    [Test]
    public async Task Verify_refuses_a_folder_without_recorded_results()
    {
        string component = TinyModel.Copy(Path.Combine(SharedModels.Float, "unet"), _folder["unet"]);

        AssertRefused(await Lbd.RunAsync("verify", component), ["unet", "io*.safetensors", "found none"]);
    }

    private static void AssertRefused(LbdResult result, string[] expected)
    {
        Assert.That(result.ExitCode, Is.EqualTo(2), result.ToString);
        Assert.That(result.ErrorLines, Has.Length.EqualTo(1), () => $"one line:\n{result.Error}");
        Assert.That(result.Error, Does.StartWith("lbd: "));
        foreach (string part in expected) Assert.That(result.Error, Does.Match(part.Contains('|') ? part : System.Text.RegularExpressions.Regex.Escape(part)));
        Assert.That(result.Out, Is.Empty, "standard output");
    }

    private static TestCaseData Case(string name, bool quantized, Action<string> damage, params string[] expected) => new TestCaseData(quantized, damage, expected).SetArgDisplayNames(name);

    private static void Truncate(string file, long length)
    {
        using FileStream stream = File.OpenWrite(file);
        stream.SetLength(length);
    }

    private static byte[] Bytes(float[] values) => TensorConversion.FromSingles(DType.F32, values);

    private static void EditTimesteps(string model, Action<JsonArray> edit) => TinyModel.EditJson(model, "unet/config.json", config => edit(config["quantization_config"]!["timesteps"]!.AsArray()));
}

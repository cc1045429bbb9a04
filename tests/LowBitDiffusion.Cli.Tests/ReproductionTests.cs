using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Cli.Tests;

/// <summary>A picture of any pipeline is drawn again, byte for byte, from what it carries; what it was made of besides the model is found by name and must be what it was.</summary>
public sealed class ReproductionTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    public static IEnumerable<TestCaseData> Pipelines()
    {
        string[] size = ["--height", "32", "--width", "24"], square = ["--height", "32", "--width", "32"];
        yield return Case("DDPM", TinyFolder.Unconditional, [.. square, "--count", "2"]);
        yield return Case("class UNet", TinyModel.CreateConditional, ["--label", "dress,2", "--guidance", "2", "--eta", "0.5", "--captions"]);
        yield return Case("DiT", TinyFolder.DiT, ["--label", "3,4", "--guidance", "3", "--noise", "torch-cuda"]);
        yield return Case("LDM with VQ", TinyFolder.LatentDiffusion, [.. square, "--count", "2", "--scheduler", "DDPMScheduler"]);
        yield return Case("LDM with KL", TinyFolder.LatentDiffusionKL, [.. square, "--count", "2", "--columns", "1"]);
        yield return Case("SD1", TinyFolder.StableDiffusion, [.. size, "--prompt", "a cat", "--prompt", "ein Mädchen 🐈", "--negative-prompt", "bird \"x\"", "--scheduler", "EulerAncestralDiscreteScheduler"]);
        yield return Case("SD2, v-prediction", TinyFolder.StableDiffusion2, [.. size, "--prompt", "a cat", "--count", "2", "--guidance", "1"]);
        yield return Case("SDXL", TinyFolder.StableDiffusionXL, [.. size, "--prompt", "a cat", "--seeds", "18446744073709551615,3", "--scale", "2"]);
        yield return Case("PixArt", TinyFolder.PixArt, [.. square, "--prompt-embeddings", "text.safetensors", "--guidance", "1", "--count", "2"]);
        yield return Case("image to image", TinyFolder.StableDiffusion, ["--prompt", "a cat", "--init-image", "init.png", "--strength", "0.5", "--count", "2"]);
        yield return Case("image to image of labels", TinyModel.CreateConditional, ["--label", "1", "--init-image", "grey.png", "--strength", "0.7"]);

        static TestCaseData Case(string name, Func<string, string> write, string[] options) => new TestCaseData(write, options).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Pipelines))]
    public async Task A_picture_is_drawn_again_from_what_it_carries(Func<string, string> write, string[] options)
    {
        write(_folder["model"]);
        WriteFiles(_folder["first"]);
        options = [.. options.Select(option => option is "init.png" or "grey.png" or "text.safetensors" ? Path.Combine(_folder["first"], option) : option)];
        string seed = options.Contains("--seeds") ? "" : "--seed 9";
        await Lbd.SucceedAsync(["generate", "--model", _folder["model"], "--out", Path.Combine(_folder["first"], "picture.png"), "--steps", "4", .. seed.Split(' ', StringSplitOptions.RemoveEmptyEntries), .. options]);
        // All that belongs to it lies beside it, wherever it is.
        Directory.Move(_folder["first"], _folder["moved"]);
        string first = Path.Combine(_folder["moved"], "picture.png");

        await Lbd.SucceedAsync("generate", "--model", _folder["model"], "--like", first, "--out", _folder["again.png"]);

        Assert.That(File.ReadAllBytes(_folder["again.png"]), Is.EqualTo(File.ReadAllBytes(first)), "bytes of the picture");
        await Lbd.SucceedAsync("generate", "--model", _folder["model"], "--like", first, "--out", _folder["other.png"], "--seed", "10");
        Assert.That(PngReader.Load(_folder["other.png"]).Image.Pixels, Is.Not.EqualTo(PngReader.Load(first).Image.Pixels), "another seed draws another picture");
        Assert.That(Record(first), Does.Not.Contain(Path.GetTempPath()), "no path of this machine");
    }

    [TestCase("init.png", "init_image")]
    [TestCase("text.safetensors", "prompt_embeddings")]
    public async Task What_a_picture_was_made_of_must_be_there_and_the_same(string file, string name)
    {
        TinyFolder.StableDiffusion(_folder["model"]);
        WriteFiles(_folder.Path);
        string[] options = file == "init.png" ? ["--prompt", "a cat", "--init-image", _folder[file]] : ["--prompt-embeddings", _folder[file], "--guidance", "1", "--height", "16", "--width", "16"];
        await Lbd.SucceedAsync(["generate", "--model", _folder["model"], "--out", _folder["picture.png"], "--steps", "2", .. options]);
        JsonElement record = JsonDocument.Parse(Record(_folder["picture.png"])).RootElement;
        Assert.That(record.GetProperty(name).GetString(), Is.EqualTo(file), "its name");
        Assert.That(record.GetProperty($"{name}_sha256").GetString(), Has.Length.EqualTo(64), "its content");

        if (file == "init.png") PngWriter.Save(_folder[file], Picture(3, 8), []);
        else WriteEmbeddings(_folder[file], 32, offset: 1);
        LbdResult changed = await Lbd.RunAsync("generate", "--model", _folder["model"], "--like", _folder["picture.png"], "--out", _folder["again.png"]);
        Assert.That(changed.ExitCode, Is.EqualTo(2));
        Assert.That(changed.Error, Does.Contain(file).And.Contain("another file"));

        // Named on the command line, it is another setting.
        await Lbd.SucceedAsync("generate", "--model", _folder["model"], "--like", _folder["picture.png"], "--out", _folder["other.png"], file == "init.png" ? "--init-image" : "--prompt-embeddings", _folder[file]);
        File.Delete(_folder[file]);
        LbdResult missing = await Lbd.RunAsync("generate", "--model", _folder["model"], "--like", _folder["picture.png"], "--out", _folder["again.png"]);
        Assert.That(missing.ExitCode, Is.EqualTo(2));
        Assert.That(missing.Error, Does.Contain(file));
        Assert.That(File.Exists(_folder["again.png"]), Is.False);
    }

    private static string Record(string picture) => PngReader.Load(picture).Texts.Single(text => text.Keyword == "lbd").Text;

    private static void WriteFiles(string folder)
    {
        Directory.CreateDirectory(folder);
        PngWriter.Save(Path.Combine(folder, "init.png"), Picture(3, 0), []);
        PngWriter.Save(Path.Combine(folder, "grey.png"), Picture(1, 0), []);
        WriteEmbeddings(Path.Combine(folder, "text.safetensors"), TestContext.CurrentContext.Test.Name.Contains("PixArt", StringComparison.Ordinal) ? 20 : 32, offset: 0);
    }

    private static Image Picture(int channels, int offset) => Image.FromSample([.. Enumerable.Range(0, channels * 256).Select(i => MathF.Sin(0.1f * i + offset))], channels, 16, 16);

    private static void WriteEmbeddings(string file, int channels, int offset) => SafeTensorsWriter.Write(
        file, [(new TensorInfo("encoder_hidden_states", DType.F32, [6, channels]), TensorConversion.FromSingles(DType.F32, [.. Enumerable.Range(0, 6 * channels).Select(i => MathF.Sin(i + offset))]))]);
}

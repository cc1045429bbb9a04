using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd generate</c> with a model that draws after a text: prompts, embeddings, sizes, schedulers and initial images, and pictures that are drawn again from what they carry.</summary>
public sealed class TextToImageTests
{
    private TemporaryFolder _folder = null!;
    private string _model = null!;

    [SetUp]
    public void SetUp()
    {
        _folder = new TemporaryFolder();
        _model = _folder["model"];
        TinyFolder.StableDiffusion(_model);
    }

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task A_picture_is_drawn_again_from_what_it_carries()
    {
        await Draw("init.png", "--prompt", "x", "--scale", "1", "--single", "--out", _folder["init"]);
        File.Copy(Directory.GetFiles(_folder["init"]).Single(), _folder["first-init.png"]);
        string[] settings = ["--prompt", "a cat", "--prompt", "a dog", "--negative-prompt", "bird", "--scheduler", "EulerAncestralDiscreteScheduler", "--guidance", "3", "--seed", "5", "--steps", "4"];
        await Draw("first.png", [.. settings, "--init-image", _folder["first-init.png"], "--strength", "0.7", "--scale", "2"]);

        JsonElement record = JsonDocument.Parse(PngReader.Load(_folder["first.png"]).Texts.Single(text => text.Keyword == "lbd").Text).RootElement;
        Assert.That(record.GetProperty("prompts").EnumerateArray().Select(prompt => prompt.GetString()), Is.EqualTo(new[] { "a cat", "a dog" }));
        Assert.That(record.GetProperty("negative_prompt").GetString(), Is.EqualTo("bird"));
        Assert.That(record.GetProperty("scheduler").GetString(), Is.EqualTo("EulerAncestralDiscreteScheduler"));
        Assert.That(record.GetProperty("strength").GetSingle(), Is.EqualTo(0.7f));
        Assert.That(record.GetProperty("init_image").GetString(), Is.EqualTo("first-init.png"), "no path of this machine");

        await Draw("again.png", "--like", _folder["first.png"], "--init-image", _folder["first-init.png"]);
        Assert.That(File.ReadAllBytes(_folder["again.png"]), Is.EqualTo(File.ReadAllBytes(_folder["first.png"])), "bytes of the picture");
    }

    [Test]
    public async Task Size_and_number_are_as_asked()
    {
        LbdResult result = await Draw("wide.png", "--prompt", "cat", "--count", "2", "--height", "16", "--width", "24", "--columns", "1", "--scale", "1");

        Image picture = PngReader.Load(_folder["wide.png"]).Image;
        Assert.That((picture.Width, picture.Height), Is.EqualTo((24 + 4, 2 * 18 + 2)));
        Assert.That(result.Json.GetProperty("prompts").GetArrayLength(), Is.EqualTo(2));
    }

    [Test]
    public async Task Words_without_effect_are_told()
    {
        LbdResult result = await Lbd.SucceedAsync("generate", "--model", _model, "--out", _folder["long.png"], "--prompt", "aaaa bbbb cccc dddd", "--height", "16", "--width", "16", "--steps", "1");

        Assert.That(result.ErrorLines, Has.Some.EqualTo("warning: the text encoder takes 16 tokens; without effect: dd"));
        Assert.That(result.ErrorLines, Has.Some.Contain("(decoding, 1/1 images)"));
    }

    [Test]
    public async Task Embeddings_stand_for_a_prompt()
    {
        float[] values = [.. Enumerable.Range(0, 8 * 32).Select(i => MathF.Sin(i))];
        string file = _folder["text.safetensors"];
        SafeTensorsWriter.Write(file, [(new TensorInfo("encoder_hidden_states", DType.F32, [8, 32]), TensorConversion.FromSingles(DType.F32, values))]);

        LbdResult result = await Draw("drawn.png", "--prompt-embeddings", file, "--guidance", "1");

        Assert.That(result.Json.GetProperty("prompts").GetArrayLength(), Is.Zero);
        await Draw("again.png", "--like", _folder["drawn.png"], "--prompt-embeddings", file);
        Assert.That(File.ReadAllBytes(_folder["again.png"]), Is.EqualTo(File.ReadAllBytes(_folder["drawn.png"])));
    }

    [TestCase("--prompt a --height 30", "height", "multiple of 4", "found 30")]
    [TestCase("--prompt a --scheduler Magic", "scheduler", "DDIMScheduler", "'Magic'")]
    [TestCase("--prompt a --strength 0.5", "strength", "--init-image")]
    [TestCase("--prompt a --init-image nothing.png", "nothing.png")]
    [TestCase("--prompt-embeddings nothing.safetensors", "nothing.safetensors")]
    [TestCase("--steps 2", "prompt", "found none")]
    public async Task A_request_that_does_not_fit_is_refused(string options, params string[] expected)
    {
        LbdResult result = await Lbd.RunAsync(["generate", "--model", _model, "--out", _folder["picture.png"], "--json", .. options.Split(' ')]);

        Assert.That(result.ExitCode, Is.EqualTo(2));
        foreach (string text in expected) Assert.That(result.Error, Does.Contain(text));
        Assert.That(File.Exists(_folder["picture.png"]), Is.False);
    }

    private Task<LbdResult> Draw(string output, params string[] options)
    {
        string[] basics = options.Contains("--like") ? [] : options.Contains("--steps") ? ["--height", "16", "--width", "16"] : ["--steps", "2"];
        string[] size = options.Contains("--height") || options.Contains("--like") || options.Contains("--steps") ? [] : ["--height", "16", "--width", "16"];
        string[] file = options.Contains("--out") ? [] : ["--out", _folder[output]];
        return Lbd.SucceedAsync(["generate", "--model", _model, "--json", .. file, .. basics, .. size, .. options]);
    }
}

using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd quantize</c> writes a model that runs, with a report, or nothing.</summary>
public sealed class QuantizeTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task The_quantized_folder_draws_pictures_and_holds_the_report()
    {
        LbdResult result = await Quantize("--weight-bits", "8", "--float-type", "f16");

        Assert.That(File.Exists(Path.Combine(_folder["out"], "quality.json")), Is.True);
        Assert.That(result.Out, Does.Contain("down_blocks.0.resnets.0.conv1").And.Contain("w8a8"));
        await Lbd.SucceedAsync("generate", "--model", _folder["out"], "--out", _folder["picture.png"], "--label", "1");
    }

    [Test]
    public async Task Rules_choose_the_precision_of_layers()
    {
        await Quantize("--rule", "mid_block.*=w8a8", "--rule", "*.to_out.0=float");

        LbdResult inspected = await Lbd.SucceedAsync("inspect", _folder["out"]);
        Assert.That(inspected.Out, Does.Match(@"\| mid_block\.resnets\.0\.conv1 +\| 32x32x3x3 \| +8 \| +8 \|"));
        Assert.That(inspected.Out, Does.Match(@"\| up_blocks\.0\.attentions\.0\.to_out\.0 +\| 32x32 +\| +float \|"));
        Assert.That(inspected.Out, Does.Match(@"\| up_blocks\.0\.resnets\.0\.conv2 +\| 32x32x3x3 \| +4 \| +8 \|"), "no rule: the standard precision");
    }

    [Test]
    public async Task Listing_rules_needs_no_model_and_with_one_says_every_layer()
    {
        LbdResult rules = await Lbd.SucceedAsync("quantize", "--list-rules", "--weight-bits", "3", "--rule", "mid_block.*=w8a8");
        LbdResult layers = await Lbd.SucceedAsync("quantize", "--list-rules", "--model", SharedModels.Float);

        Assert.That(rules.Out, Does.Match(@"\| mid_block\.\* +\| w8a8").And.Match(@"\| \* +\| w3a8"));
        Assert.That(layers.Out, Does.Match(@"\| conv_in +\| w8a8").And.Match(@"\| mid_block\.resnets\.0\.conv1 +\| w4a8"));
    }

    [Test]
    public async Task What_exists_is_replaced_only_if_asked()
    {
        _folder.Write("out/precious.txt", "keep me");

        LbdResult refused = await Lbd.RunAsync(Arguments());
        Assert.That(refused.ExitCode, Is.EqualTo(2));
        Assert.That(_folder.Entries, Is.EqualTo(new[] { "out", "out/precious.txt" }));

        await Quantize("--overwrite");
        Assert.That(File.Exists(_folder["out/precious.txt"]), Is.False);
        Assert.That(File.Exists(_folder["out/model_index.json"]), Is.True);
    }

    [Test]
    public async Task The_same_seed_gives_the_same_files()
    {
        await Quantize();
        await Lbd.SucceedAsync([.. Arguments("again"), "--threads", "1"]);

        Assert.That(File.ReadAllBytes(TinyModel.Weights(_folder["again"])), Is.EqualTo(File.ReadAllBytes(TinyModel.Weights(_folder["out"]))));
    }

    [Test]
    public async Task A_model_that_takes_text_is_quantized_drawn_and_compared()
    {
        TinyFolder.StableDiffusion(_folder["sd"]);
        string prompts = _folder.Write("prompts.txt", "a cat\na dog\n");
        await Lbd.SucceedAsync(TextArguments("--weight-bits", "8", "--prompts", prompts));

        await Lbd.SucceedAsync("generate", "--model", _folder["low"], "--out", _folder["cat.png"], "--prompt", "a cat", "--steps", "2", "--height", "16", "--width", "16");
        LbdResult compared = await Lbd.SucceedAsync(
            "evaluate", "--model", _folder["low"], "--reference", _folder["sd"], "--prompts", prompts, "--count", "3", "--steps", "2", "--size", "16", "--guidance", "1.5", "--json");
        Assert.That(compared.Json.GetProperty("pairs").EnumerateArray().Select(pair => pair.GetProperty("prompt").GetString()), Is.EqualTo(new[] { "a cat", "a dog", "a cat" }));
        Assert.That(compared.Json.GetProperty("decoded").GetBoolean(), Is.True);
        Assert.That(compared.Json.GetProperty("mean_psnr").GetDouble(), Is.InRange(10, 60));
        Assert.That(compared.Json.GetProperty("height").GetInt32(), Is.EqualTo(16));
    }

    [TestCase("", "does not exist")]
    [TestCase("\n\n", "found none")]
    public async Task A_file_without_prompts_is_refused_before_anything_is_loaded(string text, string message)
    {
        if (text.Length > 0) _folder.Write("prompts.txt", text);

        LbdResult result = await Lbd.RunAsync(TextArguments("--prompts", _folder["prompts.txt"]));

        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Error, Does.Contain("prompts.txt").And.Contain(message));
    }

    [Test]
    public async Task A_single_file_is_to_be_converted_first()
    {
        string file = _folder.Write("sd", "not read");

        LbdResult result = await Lbd.RunAsync(TextArguments());

        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Error, Does.Contain($"lbd convert --model {file} --out DIR"));
    }

    private string[] TextArguments(params string[] options) =>
        ["quantize", "--model", _folder["sd"], "--out", _folder["low"], "--images", "1", "--steps", "2", "--size", "16", "--guidance", "1.5", "--report-images", "0", .. options];

    private Task<LbdResult> Quantize(params string[] options) => Lbd.SucceedAsync([.. Arguments(), .. options]);

    private string[] Arguments(string output = "out") => ["quantize", "--model", SharedModels.Float, "--out", _folder[output], "--images", "2", "--batch", "2", "--steps", "2", "--report-images", "0"];
}

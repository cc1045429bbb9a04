using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Reconstruction;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Methods;

/// <summary>Methods that learn, block by block but for EfficientDM, from a request to a written folder: tiny networks are learned for real.</summary>
internal sealed class BlockwiseMethodTests : TinyModelFixture
{
    private static readonly string[] Names = ["q-diffusion", "tfmq", "dilatequant"], Learning = [.. Names, "efficientdm"];

    private QuantizationRequest _request = null!;

    [SetUp]
    public void Ask() => _request = new QuantizationRequest
    {
        Model = Folder["float"],
        Output = Folder["low"],
        Images = 4,
        Batch = 2,
        Steps = 3,
        ReportImages = 4,
        Iterations = 30,
        Samples = 24,
        Threads = 2,
    };

    private string Partial => $"{Folder["low"]}.partial";

    [TestCaseSource(nameof(Names))]
    public void Learning_beats_rounding_to_nearest_and_runs_in_integers(string method)
    {
        QuantizationRequest request = _request with { Iterations = 100, Samples = 64 };
        QualityReport nearest = ModelQuantizer.Run(request with { Output = Folder["nearest"] });
        QualityReport learned = ModelQuantizer.Run(request with { Method = method });

        Assert.That(learned.Trajectory[^1].Psnr, Is.GreaterThan(nearest.Trajectory[^1].Psnr!.Value + 0.5), "PSNR of pictures");
        JsonElement training = Json("low/training.json");
        JsonElement[] parts = [.. training.GetProperty("parts").EnumerateArray()];
        double[] gains = [.. parts.Select(part => part.GetProperty("sqnr_after").GetDouble() - part.GetProperty("sqnr_before").GetDouble())];
        Assert.That(gains.Average(), Is.GreaterThan(0.5), "decibels that blocks gain");
        Assert.That(training.GetProperty("seconds").GetDouble(), Is.GreaterThan(0));
        Assert.That(training.GetProperty("peak_bytes").GetInt64(), Is.GreaterThan(1 << 20));
        Assert.That(Directory.Exists(Partial), Is.False, "nothing is left of the run");
        Agreement.OfFolder(Folder["low"], Folder["float"]);
    }

    [TestCaseSource(nameof(Learning))]
    public void A_resumed_run_writes_the_same_bits(string method)
    {
        QuantizationRequest request = _request with { Method = method, ReportImages = 0, Iterations = 12 };
        ModelQuantizer.Run(request with { Output = Folder["whole"] });
        foreach (double stop in new[] { 0.1, 0.6 })
        {
            using CancellationTokenSource cancellation = new();
            Watcher<QuantizationProgress> progress = new(report =>
            {
                if (report.Stage == "learning" && report.Fraction > stop) cancellation.Cancel();
            });
            Assert.That(() => ModelQuantizer.Run(request with { Resume = true }, progress, cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
            Assert.That(Directory.Exists(Folder["low"]), Is.False, "no output of a stopped run");
            Assert.That(Directory.GetFiles(Partial).Select(Path.GetFileName), Is.SupersetOf(new[] { "run.json", method == "efficientdm" ? "distillation.safetensors" : "samples.safetensors" }), "what it goes on with");
        }

        double first = double.NaN;
        Watcher<QuantizationProgress> rest = new(report => first = report.Stage == "learning" && double.IsNaN(first) ? report.Fraction : first);
        ModelQuantizer.Run(request with { Resume = true, Threads = 1 }, rest);
        Assert.That(first, Is.GreaterThanOrEqualTo(0.6), "it went on where it had stopped");
        Assert.That(Directory.Exists(Partial), Is.False, "nothing is left");
        foreach (string file in new[] { "diffusion_pytorch_model.safetensors", "config.json" })
            Assert.That(File.ReadAllBytes(Path.Combine(Folder["low"], "unet", file)), Is.EqualTo(File.ReadAllBytes(Path.Combine(Folder["whole"], "unet", file))), file);
    }

    [Test]
    public void A_stopped_run_is_neither_lost_nor_mixed_up()
    {
        QuantizationRequest request = _request with { Method = "tfmq", ReportImages = 0 };
        Stop(request);
        Assert.That(() => ModelQuantizer.Run(request), Throws.TypeOf<OutputException>().With.Message.Contains("stopped run"));
        Assert.That(() => ModelQuantizer.Run(request with { Resume = true, Seed = 5 }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("Seed"));
        Assert.That(() => ModelQuantizer.Run(request with { Resume = true, Without = ["fsc"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("Without"));
        Assert.That(Directory.Exists(Partial), "the state is still there");
        ModelQuantizer.Run(request with { Overwrite = true, Iterations = 1 });
        Assert.That(Directory.Exists(Partial), Is.False, "overwritten when asked for");
    }

    [Test]
    public void What_the_budget_allows_is_decided_once()
    {
        QuantizationRequest request = _request with { Method = "tfmq", ReportImages = 0, Iterations = null, Samples = null, Budget = TimeSpan.FromSeconds(2) };
        Stop(request, 0);
        JsonElement decided = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Partial, "run.json"))).RootElement.GetProperty("decisions");
        ModelQuantizer.Run(request with { Resume = true, Budget = TimeSpan.FromHours(1) });

        JsonElement settings = Json("low/training.json").GetProperty("settings");
        Assert.That(settings.GetProperty("rounding_iterations").GetInt32(), Is.EqualTo(decided.GetProperty("iterations").GetInt32()).And.InRange(1, 19_999), "iterations");
        Assert.That(settings.GetProperty("samples").GetInt32(), Is.EqualTo(decided.GetProperty("samples").GetInt32()).And.InRange(32, 5_120), "samples");
        Assert.That(settings.GetProperty("rounding_paper_iterations").GetInt32(), Is.EqualTo(20_000), "the paper's");
    }

    [TestCase("q-diffusion", "split")]
    [TestCase("q-diffusion", "rounding")]
    [TestCase("q-diffusion", "steps")]
    [TestCase("tfmq", "tiar")]
    [TestCase("tfmq", "fsc")]
    [TestCase("tfmq", "rounding")]
    [TestCase("dilatequant", "wd")]
    [TestCase("dilatequant", "tpq")]
    [TestCase("dilatequant", "bkd")]
    public void An_ingredient_that_is_left_out_is_not_in_the_model(string method, string ingredient)
    {
        QuantizationRequest request = _request with { Method = method, ReportImages = 0, Iterations = 2, Samples = 8 };
        Dictionary<string, bool> Traits(string folder)
        {
            using SourceModel model = SourceModel.Open(Folder[folder]);
            QuantizedModule[] modules = [.. model.Weights.QuantizedModules.Values];
            string training = Path.Combine(Folder[folder], "training.json");
            string[] kinds = File.Exists(training) ? [.. JsonDocument.Parse(File.ReadAllBytes(training)).RootElement.GetProperty("parts").EnumerateArray().Select(part => part.GetProperty("kind").GetString()!)] : [];
            return new Dictionary<string, bool>
            {
                ["split"] = modules.Any(module => module.SplitChannel > 0),
                ["rounding"] = kinds.Any(kind => kind.StartsWith("rounding", StringComparison.Ordinal)),
                ["steps"] = kinds.Any(kind => kind.StartsWith("steps", StringComparison.Ordinal)),
                ["tiar"] = kinds.Any(kind => kind.EndsWith("Temporal", StringComparison.Ordinal)),
                ["fsc"] = modules.All(module => module.Input.Timesteps.Length == 3),
                ["wd"] = modules.Any(module => module.InputChannelScales?.Any(scale => scale > 1) == true),
                ["tpq"] = modules.All(module => module.Input.Timesteps.Length == 3),
                ["bkd"] = kinds.Any(kind => kind.StartsWith("distillation", StringComparison.Ordinal)),
            };
        }

        ModelQuantizer.Run(request);
        ModelQuantizer.Run(request with { Output = Folder["without"], Without = [ingredient] });
        Dictionary<string, bool> whole = Traits("low"), without = Traits("without");
        Assert.That(whole[ingredient], Is.True, "with it");
        Assert.That(without[ingredient], Is.False, "without it");
        foreach (Ingredient other in QuantizationMethods.Of(method).Ingredients.Where(other => other.Name != ingredient && !(ingredient == "rounding" && other.Name == "tiar")))
            Assert.That(without[other.Name], Is.True, $"{other.Name} stays");
        using SourceModel written = SourceModel.Open(Folder["without"]);
        Assert.That(written.Quantization!.Calibration!.Value.GetProperty("without")[0].GetString(), Is.EqualTo(ingredient), "the file says so");
        Assert.That(written.Quantization.Method, Is.EqualTo(method));
    }

    [Test]
    public void Unknown_methods_and_ingredients_are_refused()
    {
        Assert.That(() => ModelQuantizer.Run(_request with { Method = "magic" }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("tfmq"));
        Assert.That(() => ModelQuantizer.Run(_request with { Method = "tfmq", Without = ["wd"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("fsc"));
        Assert.That(() => ModelQuantizer.Run(_request with { Method = "tfmq", Iterations = 0 }), Throws.TypeOf<InvalidRequestException>());
        Assert.That(() => ModelQuantizer.Run(_request with { Method = "tfmq", Iterations = null, Budget = TimeSpan.Zero }), Throws.TypeOf<InvalidRequestException>());
    }

    [Test]
    public void Learning_that_diverges_names_its_place_and_keeps_the_last_good_state()
    {
        using QuantizationRun run = QuantizationRun.Open(_request with { Method = "dilatequant" });
        BlockPreset wild = new([new BlockStage("distillation", new ReconstructionOptions { Iterations = 40, WeightRate = 1e38, SaveEvery = 1 }, QuantizedInputs: true)]);
        TrainingDivergedException error = Assert.Throws<TrainingDivergedException>(() => new BlockLearning(run, wild).Run())!;
        Assert.That(error.Message, Does.Contain(error.Unit).And.Contain($"iteration {error.Iteration}"));
        Assert.That(error.Unit, Is.Not.Empty);
        run.Dispose();
        Assert.That(File.Exists(Path.Combine(Partial, "run.json")), "what a resumed run goes on with");
        string state = Path.Combine(Partial, "distillation.safetensors");
        if (!File.Exists(state)) return;
        using SafeTensorsFile saved = SafeTensorsFile.Open(state);
        foreach (string name in saved.Tensors.Keys.Where(name => name.StartsWith("value.", StringComparison.Ordinal))) Assert.That(saved.ReadSingles(name), Is.All.Matches<float>(float.IsFinite), name);
    }

    private void Stop(QuantizationRequest request, double after = 0.2)
    {
        using CancellationTokenSource cancellation = new();
        Watcher<QuantizationProgress> progress = new(report =>
        {
            if (report.Stage == "learning" && report.Fraction > after) cancellation.Cancel();
        });
        Assert.That(() => ModelQuantizer.Run(request, progress, cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
    }
}

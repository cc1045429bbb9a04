using System.Text.Json;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Methods;

/// <summary>Every method quantizes autoencoders, both halves, and text encoders, the folder is whole, loads, draws, and its integers compute what was learned. Widths take turns, so that every network and every method has each of them.</summary>
internal sealed class EveryComponentTests
{
    private const int Side = 16, LatentSide = 32;

    private static readonly (string Class, string Component, Func<string, string> Write)[] s_components =
    [
        ("AutoencoderKL", "vae", TinyFolder.StableDiffusion), ("VQModel", "vqvae", TinyFolder.LatentDiffusion),
        ("CLIPTextModel", "text_encoder", TinyFolder.StableDiffusion), ("CLIPTextModelWithProjection", "text_encoder_2", TinyFolder.StableDiffusionXL),
    ];

    private TemporaryFolder _folder = null!;
    private QuantizationRequest _request = null!;

    [SetUp]
    public void Create()
    {
        _folder = new TemporaryFolder();
        _request = new QuantizationRequest { Model = _folder["float"], Output = _folder["low"], Steps = 2, Height = Side, Width = Side, Iterations = 2, Images = 4, ReportImages = 0, Threads = 2 };
    }

    [TearDown]
    public void Remove() => _folder.Dispose();

    private static IEnumerable<TestCaseData> Cases() => MethodCases.Of(s_components.Select(component => (component.Class, new object[] { component.Component, component.Write })));

    [TestCaseSource(nameof(Cases))]
    public async Task A_file_is_written_that_runs_and_equals_its_simulation(IQuantizationMethod method, string component, Func<string, string> write, int weightBits, int activationBits)
    {
        write(_folder["float"]);
        if (component == "vqvae") _request = _request with { Height = LatentSide, Width = LatentSide };
        ModelQuantizer.Run(_request with { Component = component, Method = method.Name, WeightBits = weightBits, ActivationBits = activationBits });

        using (SourceModel low = SourceModel.Open(_folder["low"], component: component), plain = SourceModel.Open(_folder["float"], component: component))
        {
            IReadOnlyDictionary<string, QuantizedModule> modules = low.Weights.QuantizedModules;
            Assert.That(modules.Keys, Is.EquivalentTo(plain.Graph.MatrixNodes.Select(node => ((Graphs.MatrixOp)node.Op).Module).Distinct()), "every layer, of both halves");
            foreach ((string name, QuantizedModule module) in modules)
            {
                Assert.That((module.WeightBits, module.Input.Bits), Is.EqualTo(KeepsEightBits(name, activationBits) ? (8, 8) : (weightBits, activationBits)), name);
                Assert.That(module.Input.IsStatic, $"{name}: one scale, as there is no timestep");
            }
        }

        foreach (string other in Directory.GetFiles(_folder["float"], "*", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(_folder["float"], file)).Where(file => Path.GetDirectoryName(file) != component))
            Assert.That(File.ReadAllBytes(Path.Combine(_folder["low"], other)), Is.EqualTo(File.ReadAllBytes(Path.Combine(_folder["float"], other))), other);
        Simulation.LayersEqualIntegers(_folder["float"], _folder["low"], component);
        Assert.That((await Draw("low")).Sample, Is.All.Matches<float>(float.IsFinite), "a picture");
    }

    [TestCase("vae")]
    [TestCase("vqvae")]
    [TestCase("text_encoder")]
    [TestCase("text_encoder_2")]
    public void What_is_trained_is_what_runs(string component)
    {
        s_components.Single(one => one.Component == component).Write(_folder["float"]);
        if (component == "vqvae") _request = _request with { Height = LatentSide, Width = LatentSide };
        foreach (string method in new[] { "mse", "dilatequant", "efficientdm" })
        {
            ModelQuantizer.Run(_request with { Component = component, Method = method, Overwrite = true, Iterations = 8 });
            Agreement.OfFolder(_folder["low"], _folder["float"], component);
        }
    }

    [Test]
    public async Task Networks_are_quantized_one_after_the_other_and_draw_what_the_float_model_draws()
    {
        TinyFolder.StableDiffusionXL(_folder["float"]);
        string before = _folder["float"];
        foreach (string component in new[] { "unet", "vae", "text_encoder", "text_encoder_2" })
        {
            ModelQuantizer.Run(_request with { Model = before, Component = component, Output = _folder[component], WeightBits = 8, Images = null, ReportImages = 1 });
            before = _folder[component];
        }

        Assert.That(File.Exists(Path.Combine(before, "quality.json")) && File.Exists(Path.Combine(before, "vae", "quality.json")), "reports on all of them");
        JsonElement report = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(before, "vae", "quality.json"))).RootElement;
        Assert.That(report.GetProperty("outputs").EnumerateArray().Select(output => output.GetProperty("output").GetString()), Is.EqualTo(new[] { "mean", "decoded" }));
        Assert.That(report.GetProperty("outputs").EnumerateArray().Select(output => output.GetProperty("psnr").GetDouble()), Is.All.GreaterThan(30));
        Assert.That(report.GetProperty("modules").EnumerateArray().Select(module => module.GetProperty("activation_sqnr").GetDouble()), Is.All.GreaterThan(15), "inputs of both halves");

        Image init = (await Draw("float")).Image;
        foreach ((Image? from, double least) in new[] { (null, 25.0), (init, 18.0) })
        {
            GeneratedImage low = await Draw("text_encoder_2", from), expected = await Draw("float", from);
            Assert.That(Psnr(low.Sample, expected.Sample), Is.InRange(least, 100), $"PSNR of a picture{(from is null ? "" : " from a picture")}, 31.0 and 22.3 when it was measured");
        }

        (MemoryEstimate small, MemoryEstimate large) = (DiffusionPipeline.EstimateMemory(before), DiffusionPipeline.EstimateMemory(_folder["float"]));
        foreach ((string Part, long Bytes) part in small.Parts.Where(part => part.Part.Contains("weights", StringComparison.Ordinal)))
            Assert.That(part.Bytes, Is.LessThan(large.Parts.Single(other => other.Part == part.Part).Bytes), part.Part);
    }

    [TestCase("vae", false)]
    [TestCase("vqvae", false)]
    [TestCase("text_encoder", false)]
    [TestCase("text_encoder", true)]
    public void A_network_alone_becomes_a_network_alone(string component, bool tokenizer)
    {
        s_components.Single(one => one.Component == component).Write(_folder["model"]);
        string alone = Path.Combine(_folder["model"], component);
        string[] vocabulary = ["vocab.json", "merges.txt", "tokenizer_config.json"];
        foreach (string file in tokenizer ? vocabulary : []) File.Copy(Path.Combine(_folder["model"], "tokenizer", file), Path.Combine(alone, file));
        foreach (string method in new[] { "mse", "q-diffusion" })
        {
            QuantizationRequest request = _request with { Model = alone, Method = method, Overwrite = true, WeightBits = 8, Iterations = 20, ReportImages = 1, Height = component == "text_encoder" ? null : Side, Width = null, Prompts = tokenizer ? ["a dog"] : null };
            QualityReport report = ModelQuantizer.Run(request);
            Assert.That(report.Outputs!.Select(output => output.Psnr), Is.All.GreaterThan(25), "PSNR of its outputs");
        }

        using SourceModel low = SourceModel.Open(_folder["low"]);
        Assert.That(low.Quantization!.Method, Is.EqualTo("q-diffusion"));
        Assert.That(Directory.GetFiles(_folder["low"]).Select(Path.GetFileName), Is.SupersetOf(tokenizer ? vocabulary : ["config.json", "quality.json", "training.json"]));
        Simulation.LayersEqualIntegers(alone, _folder["low"]);
    }

    [TestCase("vae", "tfmq")]
    [TestCase("vae", "efficientdm")]
    [TestCase("text_encoder", "q-diffusion")]
    public void A_resumed_run_writes_the_same_bits_for_any_number_of_threads(string component, string method)
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        QuantizationRequest request = _request with { Component = component, Method = method, Iterations = 6 };
        ModelQuantizer.Run(request with { Output = _folder["whole"] });
        using CancellationTokenSource cancellation = new();
        Watcher<QuantizationProgress> progress = new(report =>
        {
            if (report is { Stage: "learning", Fraction: > 0.4 }) cancellation.Cancel();
        });
        Assert.That(() => ModelQuantizer.Run(request with { Resume = true }, progress, cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.Exists(_folder["low"]), Is.False, "no output of a stopped run");
        ModelQuantizer.Run(request with { Resume = true, Threads = 1 });
        foreach (string file in Directory.GetFiles(Path.Combine(_folder["low"], component)).Where(file => !Path.GetFileName(file).StartsWith("training", StringComparison.Ordinal)))
            Assert.That(File.ReadAllBytes(file), Is.EqualTo(File.ReadAllBytes(Path.Combine(_folder["whole"], component, Path.GetFileName(file)))), file);
    }

    [Test]
    public void A_budget_decides_how_long_is_learned()
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        ModelQuantizer.Run(_request with { Component = "text_encoder", Method = "dilatequant", Iterations = null, Budget = TimeSpan.FromSeconds(2) });
        JsonElement settings = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(_folder["low"], "text_encoder", "training.json"))).RootElement.GetProperty("settings");
        Assert.That(settings.GetProperty("distillation_iterations").GetInt32(), Is.InRange(1, 4999));
        Assert.That(settings.GetProperty("samples").GetInt32(), Is.EqualTo(PromptList.Default.Count + 1), "each text once");
    }

    private static IEnumerable<TestCaseData> BadRequests()
    {
        yield return Case("unknown component", TinyFolder.PixArt, r => r with { Component = "text_encoder" }, "transformer (PixArtTransformer2DModel), vae (AutoencoderKL)");
        yield return Case("component of a network alone", TinyFolder.StableDiffusion, r => r with { Model = Path.Combine(r.Model, "vae"), Component = "vae" }, "a network's folder alone");
        yield return Case("denoiser alone", TinyFolder.StableDiffusion, r => r with { Model = Path.Combine(r.Model, "unet") }, "a whole model's folder");
        yield return Case("prompts without a tokenizer", TinyFolder.StableDiffusion, r => r with { Model = Path.Combine(r.Model, "text_encoder"), Prompts = ["a cat"] }, "vocab.json");
        yield return Case("prompts for an autoencoder alone", TinyFolder.StableDiffusion, r => r with { Model = Path.Combine(r.Model, "vae"), Prompts = ["a cat"] }, "without a pipeline");
        yield return Case("steps to train along", TinyFolder.StableDiffusion, r => r with { Component = "vae", TrainingSteps = 3 }, "no timesteps");
        yield return Case("size", TinyFolder.StableDiffusion, r => r with { Model = Path.Combine(r.Model, "vae"), Height = 15 }, "multiple of");
        yield return Case("embeddings for a text encoder", TinyFolder.StableDiffusion, r => r with { Component = "text_encoder", PromptEmbeddings = TinyEmbeddings.Create(channels: 32) }, "reads prompts");

        static TestCaseData Case(string name, Func<string, string> write, Func<QuantizationRequest, QuantizationRequest> change, string message) => new TestCaseData(write, change, message).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(BadRequests))]
    public void Requests_that_make_no_sense_are_refused(Func<string, string> write, Func<QuantizationRequest, QuantizationRequest> change, string message)
    {
        write(_folder["float"]);
        Assert.That(() => ModelQuantizer.Run(change(_request)), Throws.TypeOf<InvalidRequestException>().With.Message.Contains(message));
        Assert.That(Directory.GetFileSystemEntries(_folder.Path), Is.EqualTo(new[] { _folder["float"] }), "nothing is written");
    }

    [Test]
    public void What_is_quantized_already_is_refused()
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        ModelQuantizer.Run(_request with { Component = "text_encoder" });
        Assert.That(() => ModelQuantizer.Run(_request with { Model = _folder["low"], Component = "text_encoder", Output = _folder["again"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("quantized already"));
    }

    [TestCase("vae", "drawing")]
    [TestCase("vae", "calibrating")]
    [TestCase("text_encoder", "calibrating")]
    [TestCase("text_encoder", "measuring")]
    public void A_cancelled_run_leaves_nothing(string component, string stage)
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        using CancellationTokenSource stop = new();
        Watcher<QuantizationProgress> progress = new(report =>
        {
            if (report.Stage == stage) stop.Cancel();
        });
        Assert.That(() => ModelQuantizer.Run(_request with { Component = component, ReportImages = 1 }, progress, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.GetFileSystemEntries(_folder.Path), Is.EqualTo(new[] { _folder["float"] }), "the model alone is left");
    }

    private static double Psnr(float[] found, float[] expected) => 10 * Math.Log10(4 / found.Zip(expected, (x, y) => (double)(x - y) * (x - y)).Average());

    private async Task<GeneratedImage> Draw(string folder, Image? init = null)
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_folder[folder], new() { Threads = 2 });
        int side = pipeline.Description.TakesText ? Side : LatentSide;
        GenerationRequest request = new() { Steps = 2, GuidanceScale = pipeline.Description.TakesText ? 1.5f : 1, Height = side, Width = side, Prompts = pipeline.Description.HasTextEncoder ? ["a cat"] : [], InitImage = init };
        return (await pipeline.GenerateAsync(request))[0];
    }

    // The ends of a network and, where activations have few bits, what reads its residual stream.
    private static bool KeepsEightBits(string name, int activationBits) =>
        name.Contains("quant_conv", StringComparison.Ordinal) || name.EndsWith("coder.conv_in", StringComparison.Ordinal) || name.EndsWith("coder.conv_out", StringComparison.Ordinal) || name == "text_projection"
        || (activationBits < 8 && (name.EndsWith("conv_shortcut", StringComparison.Ordinal) || name.Contains("samplers.", StringComparison.Ordinal)));
}

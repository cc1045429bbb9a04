using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Evaluation;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.PostTraining;

/// <summary>Models that draw latents after a text, a label or nothing become low-bit folders that are whole and draw.</summary>
[TestFixture]
internal sealed class LatentModelTests
{
    private static readonly string[] s_prompts = ["a cat", "a dog"];

    private TemporaryFolder _folder = null!;
    private QuantizationRequest _request = null!;

    [SetUp]
    public void Open()
    {
        _folder = new TemporaryFolder();
        _request = new QuantizationRequest { Model = _folder["float"], Output = _folder["low"], Images = 2, Steps = 2, GuidanceScale = 1.5f, ReportImages = 1, Height = 32, Width = 32 };
    }

    [TearDown]
    public void Remove() => _folder.Dispose();

    private static IEnumerable<TestCaseData> Models()
    {
        foreach (int bits in (int[])[8, 4])
        {
            yield return Case("StableDiffusion", TinyFolder.StableDiffusion, text: true);
            yield return Case("StableDiffusionXL", TinyFolder.StableDiffusionXL, text: true);
            yield return Case("PixArt", TinyFolder.PixArt, embeddings: true);
            yield return Case("DiT", TinyFolder.DiT, labels: true);
            yield return Case("LatentDiffusion", TinyFolder.LatentDiffusion);

            TestCaseData Case(string name, Func<string, string> write, bool text = false, bool embeddings = false, bool labels = false) =>
                new TestCaseData(write, bits, text, embeddings, labels).SetArgDisplayNames(name, $"w{bits}a8");
        }
    }

    [TestCaseSource(nameof(Models))]
    public async Task AWholeFolderIsWrittenAndDraws(Func<string, string> write, int bits, bool text, bool embeddings, bool labels)
    {
        write(_folder["float"]);
        PromptEmbeddings? encoded = embeddings ? TinyEmbeddings.Create(channels: 20) : null;
        QualityReport report = ModelQuantizer.Run(_request with { WeightBits = bits, Prompts = text ? s_prompts : null, PromptEmbeddings = encoded });

        using (SourceModel model = SourceModel.Open(_folder["low"]))
        {
            QuantizedModule[] modules = [.. model.Weights.QuantizedModules.Values];
            Assert.That(modules, Has.Some.Property(nameof(QuantizedModule.WeightBits)).EqualTo(bits));
            Assert.That(modules.Select(module => module.Input.Timesteps.Length).Distinct(), Is.EqualTo(new[] { 2 }), "a scale for each of two timesteps");
            foreach (string component in model.Folder!.Components.Keys.Where(component => Directory.Exists(Path.Combine(_folder["float"], component))))
                Assert.That(Directory.GetFiles(Path.Combine(_folder["low"], component)).Select(Path.GetFileName), Is.EquivalentTo(Directory.GetFiles(Path.Combine(_folder["float"], component)).Select(Path.GetFileName)), component);
        }

        Assert.That(report.Latents, Is.True);
        Assert.That(report.Trajectory, Has.Count.EqualTo(2));
        Assert.That(report.Trajectory.Select(point => point.Range), Is.All.GreaterThan(2), "latents of unit variance reach beyond [−1, 1]");
        Assert.That(report.Trajectory[^1].Psnr, Is.GreaterThan(bits == 8 ? 25 : 15), "PSNR of latents");

        await using DiffusionPipeline low = await DiffusionPipeline.LoadAsync(_folder["low"]), high = await DiffusionPipeline.LoadAsync(_folder["float"]);
        GenerationRequest request = new() { Prompts = text ? ["a dog"] : [], PromptEmbeddings = encoded, Labels = labels ? [3, 4] : [], Steps = 2, GuidanceScale = 1.5f, Height = 32, Width = 32, Seed = 77 };
        IReadOnlyList<GeneratedImage> drawn = await low.GenerateAsync(request), expected = await high.GenerateAsync(request);
        float[] difference = [.. drawn[0].Sample.Zip(expected[0].Sample, (x, y) => Math.Abs(x - y))];
        Assert.That(difference.Max(), Is.GreaterThan(0), "the network is another one");
        Assert.That(difference.Average(), Is.LessThan((bits == 8 ? 0.25 : 0.5) * expected[0].Sample.Average(Math.Abs)), "mean difference to float's picture");
    }

    [Test]
    public void CalibrationSeesWhatThePipelineTellsTheNetwork()
    {
        using SourceModel model = SourceModel.Open(TinyFolder.StableDiffusionXL(_folder["float"]));
        GuidedSampler sampler = new(model, new SamplingSettings(2, 5) { Prompts = s_prompts, Height = 32, Width = 48 }, images: 1);
        IReadOnlyDictionary<string, float[]> first = sampler.Conditions(0), second = sampler.Conditions(1), third = sampler.Conditions(2);

        Assert.That(first.Keys, Is.EquivalentTo(new[] { "encoder_hidden_states", "text_embeds", "time_ids" }));
        Assert.That(first["time_ids"], Is.EqualTo(new float[] { 32, 48, 0, 0, 32, 48, 32, 48, 0, 0, 32, 48 }), "size of the picture, with and without prompt");
        Assert.That(second["encoder_hidden_states"], Is.Not.EqualTo(first["encoder_hidden_states"]), "prompts take turns");
        Assert.That(third["encoder_hidden_states"], Is.EqualTo(first["encoder_hidden_states"]), "and begin again");
        Assert.That(first["text_embeds"][(first["text_embeds"].Length / 2)..], Is.All.Zero, "the empty prompt of this model is zeros");
    }

    [Test]
    public async Task EmbeddingsTakeTurnsWhenModelsAreCompared()
    {
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(TinyFolder.PixArt(_folder["float"])), same = model.Share();
        EvaluationOptions options = new(Count: 3, Steps: 2, Batch: 2) { PromptEmbeddings = TinyEmbeddings.Create(channels: 20), Height = 32, Width = 32 };
        (EvaluationResult result, Image sheet) = await Evaluator.CompareAsync(model, same, ruler: null, options);
        Assert.That(result.MeanPsnr, Is.Null, "a model equals itself");
        Assert.That((result.Pairs.Count, result.Height, result.Decoded), Is.EqualTo((3, 32, true)));
        Assert.That(sheet.Height, Is.GreaterThan(2 * 2 * 32), "rows of both models, enlarged twice");
    }

    [Test]
    public void TheSameRequestGivesTheSameBytes()
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        ModelQuantizer.Run(_request with { Prompts = s_prompts });
        ModelQuantizer.Run(_request with { Prompts = s_prompts, Output = _folder["again"], Threads = 1 });
        foreach (string file in Directory.GetFiles(_folder["low"], "*", SearchOption.AllDirectories))
            Assert.That(File.ReadAllBytes(Path.Combine(_folder["again"], Path.GetRelativePath(_folder["low"], file))), Is.EqualTo(File.ReadAllBytes(file)), file);
    }

    [Test]
    public void PromptsMatter()
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        ModelQuantizer.Run(_request with { Prompts = ["a cat"], ReportImages = 0 });
        ModelQuantizer.Run(_request with { Prompts = ["x y z 1 2 3"], ReportImages = 0, Output = _folder["other"] });
        string weights = Path.Combine("unet", ComponentFolder.WeightFile);
        Assert.That(File.ReadAllBytes(Path.Combine(_folder["other"], weights)), Is.Not.EqualTo(File.ReadAllBytes(Path.Combine(_folder["low"], weights))));
    }

    [Test]
    public void WithoutPromptsThereAreSome()
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        ModelQuantizer.Run(_request with { Images = 1, GuidanceScale = null, ReportImages = 0 });
        using JsonDocument config = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(_folder["low"], "unet", "config.json")));
        JsonElement calibration = config.RootElement.GetProperty("quantization_config").GetProperty("calibration");
        Assert.That(calibration.GetProperty("prompts").GetInt32(), Is.EqualTo(PromptList.Default.Count));
        Assert.That(calibration.GetProperty("guidance_scale").GetSingle(), Is.EqualTo(7.5f), "the pipeline's own");
    }

    [Test]
    public void ACancelledRunLeavesNothing([Values("calibrating", "quantizing", "measuring", "writing")] string stage)
    {
        TinyFolder.StableDiffusion(_folder["float"]);
        using CancellationTokenSource stop = new();
        Watcher<QuantizationProgress> progress = new(report =>
        {
            if (report.Stage == stage) stop.Cancel();
        });
        Assert.That(() => ModelQuantizer.Run(_request, progress, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.GetFileSystemEntries(_folder.Path), Is.EqualTo(new[] { _folder["float"] }), "the model alone is left");
    }

    private static IEnumerable<TestCaseData> BadRequests()
    {
        yield return Case("embeddings of another width", TinyFolder.PixArt, r => r with { PromptEmbeddings = TinyEmbeddings.Create(channels: 21) }, "20 channels");
        yield return Case("no embeddings", TinyFolder.PixArt, r => r, "expected embeddings");
        yield return Case("prompts without encoder", TinyFolder.PixArt, r => r with { Prompts = s_prompts }, "found a prompt");
        yield return Case("prompts and embeddings", TinyFolder.StableDiffusion, r => r with { Prompts = s_prompts, PromptEmbeddings = TinyEmbeddings.Create(channels: 32) }, "found both");
        yield return Case("prompts for labels", TinyFolder.DiT, r => r with { Prompts = s_prompts }, "takes no text");
        yield return Case("size", TinyFolder.StableDiffusion, r => r with { Height = 30 }, "multiple of");

        static TestCaseData Case(string name, Func<string, string> write, Func<QuantizationRequest, QuantizationRequest> change, string message) =>
            new TestCaseData(write, change, message).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(BadRequests))]
    public void RequestsThatMakeNoSenseAreRefused(Func<string, string> write, Func<QuantizationRequest, QuantizationRequest> change, string message)
    {
        write(_folder["float"]);
        Assert.That(() => ModelQuantizer.Run(change(_request)), Throws.TypeOf<InvalidRequestException>().With.Message.Contains(message));
        Assert.That(Directory.Exists(_folder["low"]), Is.False);
    }

    [Test]
    public void PromptsAreLinesOfAFile()
    {
        File.WriteAllText(_folder["prompts.txt"], "  a cat \r\n\r\n\tein Mädchen\nthird");
        Assert.That(PromptList.Read(_folder["prompts.txt"]), Is.EqualTo(new[] { "a cat", "ein Mädchen", "third" }));
    }

    [TestCase("missing", "does not exist")]
    [TestCase("empty", "found none")]
    [TestCase("binary", "UTF-8")]
    [TestCase("folder", "folder")]
    public void AFileWithoutPromptsIsRefused(string kind, string message)
    {
        string file = _folder["prompts"];
        if (kind == "empty") File.WriteAllText(file, "\n  \n");
        if (kind == "binary") File.WriteAllBytes(file, [0x61, 0xff, 0xfe]);
        if (kind == "folder") Directory.CreateDirectory(file);
        Assert.That(() => PromptList.Read(file), Throws.TypeOf<InvalidRequestException>().With.Message.Contains(message).And.Message.Contains(file));
    }

    [Test]
    public void ASingleFileIsToBeConvertedFirst()
    {
        File.WriteAllText(_folder["model.safetensors"], "");
        Assert.That(() => ModelQuantizer.Run(_request with { Model = _folder["model.safetensors"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("lbd convert"));
    }
}

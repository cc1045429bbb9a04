using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.PostTraining;

/// <summary>A float model folder becomes a quantized one that runs, with a report of what that cost.</summary>
[TestFixture]
internal sealed class ModelQuantizerTests
{
    private TemporaryFolder _folder = null!;
    private QuantizationRequest _request = null!;

    [SetUp]
    public void Write()
    {
        _folder = new TemporaryFolder();
        _request = new QuantizationRequest { Model = TinyModel.Write(_folder["float"]), Output = _folder["low"], Images = 2, Batch = 2, Steps = 2, ReportImages = 2 };
    }

    [TearDown]
    public void Remove() => _folder.Dispose();

    [TestCase(8, 8)]
    [TestCase(4, 8)]
    [TestCase(4, 4)]
    [TestCase(3, 6)]
    [TestCase(2, 2)]
    public async Task EveryWidthIsWrittenAndRuns(int weightBits, int activationBits)
    {
        ModelQuantizer.Run(_request with { WeightBits = weightBits, ActivationBits = activationBits });
        using (SourceModel quantized = SourceModel.Open(_folder["low"]))
        {
            QuantizedModule module = quantized.Weights.Quantized("mid_block.resnets.0.conv1")!;
            Assert.That((module.WeightBits, module.Input.Bits), Is.EqualTo((weightBits, activationBits)), "an ordinary layer");
            QuantizedModule first = quantized.Weights.Quantized("conv_in")!;
            Assert.That((first.WeightBits, first.Input.Bits), Is.EqualTo((8, 8)), "the first layer");
            Assert.That(quantized.Weights.Quantized("time_embedding.linear_1"), Is.Null, "the time embedding stays float");
            Assert.That(module.Input.Timesteps.ToArray(), Is.EqualTo(new[] { 0f, 500f }), "calibrated timesteps");
        }

        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_folder["low"]);
        IReadOnlyList<GeneratedImage> images = await pipeline.GenerateAsync(new GenerationRequest { Labels = [1], Steps = 2 });
        Assert.That(images[0].Sample, Is.All.Matches<float>(float.IsFinite));
    }

    [Test]
    public void MoreBitsAreCloserToFloat()
    {
        // Ranges and figures of two pictures would follow the last bit of a rounding.
        double previous = 0;
        foreach ((int weightBits, int activationBits) in new[] { (2, 4), (4, 8), (8, 8) })
        {
            QualityReport report = ModelQuantizer.Run(_request with { WeightBits = weightBits, ActivationBits = activationBits, Images = 16, Batch = 4, ReportImages = 4, Overwrite = true });
            Assert.That(report.Trajectory[^1].Psnr, Is.GreaterThan(previous), $"PSNR of w{weightBits}a{activationBits}");
            previous = report.Trajectory[^1].Psnr!.Value;
        }

        Assert.That(previous, Is.GreaterThan(30), "PSNR of w8a8");
    }

    [Test]
    public void TheReportCountsTheBytesOfTheFile()
    {
        QualityReport report = ModelQuantizer.Run(_request with { FloatType = DType.F16 });
        using SafeTensorsFile file = SafeTensorsFile.Open(Path.Combine(_folder["low"], "unet", "diffusion_pytorch_model.safetensors"));
        Assert.That(report.Bytes, Is.EqualTo(file.Tensors.Values.Sum(info => info.ByteLength)), "bytes of all tensors");
        Assert.That(report.Bytes, Is.LessThan(0.25 * report.FloatBytes), "a 4-bit model is small");
        Assert.That(report.Images, Is.EqualTo(2));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(_folder["low"], "quality.json")));
        Assert.That(json.RootElement.GetProperty("modules").GetArrayLength(), Is.EqualTo(report.Modules.Count), "layers in quality.json");
        Assert.That(json.RootElement.GetProperty("bytes").GetInt64(), Is.EqualTo(report.Bytes), "bytes in quality.json");
        Assert.That(File.ReadAllText(Path.Combine(_folder["low"], "quality.txt")), Does.Contain("mid_block.resnets.0.conv1"));
    }

    [Test]
    public void TheReportMeasuresWeightsAndInputsOfEveryLayer()
    {
        QualityReport report = ModelQuantizer.Run(_request);
        foreach (ModuleQuality module in report.Modules)
        {
            bool quantized = module.Precision != "float";
            Assert.That(module.WeightSqnr.HasValue, Is.EqualTo(quantized), $"weight of {module.Module}");
            Assert.That(module.ActivationSqnr.HasValue, Is.EqualTo(quantized), $"input of {module.Module}");
            if (!quantized) continue;
            // About 6 dB a bit: 4 bits lose a signal at 15 to 25 dB, 8 bits at 35 to 50.
            Assert.That(module.WeightSqnr, module.Precision.StartsWith("w4", StringComparison.Ordinal) ? Is.InRange(12.0, 30.0) : Is.InRange(32.0, 60.0), $"weight of {module.Module}");
            Assert.That(module.ActivationSqnr, Is.InRange(20.0, 60.0), $"input of {module.Module}");
            Assert.That(module.WorstActivationSqnr, Is.LessThanOrEqualTo(module.ActivationSqnr!.Value + 1e-9), $"worst timestep of {module.Module}");
        }
    }

    [Test]
    public void TheConfigurationSaysHowItWasMade()
    {
        ModelQuantizer.Run(_request with { Rules = [PrecisionRules.Parse("mid_block.*=w6a7"), PrecisionRules.Parse("conv_in=float")], GroupChannels = 16, Seed = 9 });
        using SourceModel model = SourceModel.Open(_folder["low"]);
        QuantizationConfig config = model.Quantization!;
        Assert.That(config.Precision("mid_block.resnets.0.conv1"), Is.EqualTo(new ModulePrecision(6, 16 * 9, false, 7)), "an overridden layer in groups");
        Assert.That(config.Precision("conv_out"), Is.EqualTo(new ModulePrecision(8, 0, true, 8)), "groups do not divide 16 channels into one");
        Assert.That(config.Precision("up_blocks.2.resnets.1.conv_shortcut").SplitChannel, Is.EqualTo(16), "a split concatenation");
        Assert.That(config.ModulesInFloat, Is.EquivalentTo(new[] { "conv_in", "time_embedding.linear_1", "time_embedding.linear_2" }));
        Assert.That(config.Rules[0], Is.EqualTo(new PrecisionRule("mid_block.*", "w6a7")), "rules in order");
        Assert.That(config.Calibration!.Value.GetProperty("seed").GetInt32(), Is.EqualTo(9), "how it was calibrated");
        Assert.That(config.Method, Is.EqualTo("mse"));
    }

    [Test]
    public void TheSameRequestGivesTheSameBytes()
    {
        ModelQuantizer.Run(_request);
        ModelQuantizer.Run(_request with { Output = _folder["again"], Threads = 1 });
        foreach (string file in Directory.GetFiles(_folder["low"], "*", SearchOption.AllDirectories))
            Assert.That(File.ReadAllBytes(Path.Combine(_folder["again"], Path.GetRelativePath(_folder["low"], file))), Is.EqualTo(File.ReadAllBytes(file)), file);
    }

    [Test]
    public void ACancelledRunLeavesNothing([Values("calibrating", "quantizing", "measuring", "writing")] string stage)
    {
        using CancellationTokenSource stop = new();
        Watcher<QuantizationProgress> progress = new(report =>
        {
            if (report.Stage == stage) stop.Cancel();
        });
        Assert.That(() => ModelQuantizer.Run(_request, progress, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.GetFileSystemEntries(_folder.Path), Is.EqualTo(new[] { _folder["float"] }), "the model alone is left");
    }

    [Test]
    public void AFolderIsNotReplacedUnlessAskedFor()
    {
        Directory.CreateDirectory(_folder["low"]);
        File.WriteAllText(Path.Combine(_folder["low"], "mine"), "keep");
        Assert.That(() => ModelQuantizer.Run(_request, new Watcher<QuantizationProgress>(_ => Assert.Fail("worked before it looked"))), Throws.TypeOf<OutputException>());
        ModelQuantizer.Run(_request with { Overwrite = true, ReportImages = 0 });
        Assert.That(File.Exists(Path.Combine(_folder["low"], "mine")), Is.False, "replaced when asked for");
    }

    [Test]
    public void AQuantizedModelIsNotQuantizedAgain()
    {
        ModelQuantizer.Run(_request with { ReportImages = 0 });
        Assert.That(() => ModelQuantizer.Run(_request with { Model = _folder["low"], Output = _folder["lower"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("already"));
    }

    private static IEnumerable<TestCaseData> BadRequests()
    {
        yield return Case("weight bits", r => r with { WeightBits = 1 });
        yield return Case("activation bits", r => r with { ActivationBits = 9 });
        yield return Case("nothing to choose attentions by", r => r with { Attention = null, ReportImages = 0 });
        yield return Case("rule that matches nothing", r => r with { Rules = [new PrecisionRule("nothing.*", "w8a8")] });
        yield return Case("rule without precision", r => r with { Rules = [new PrecisionRule("conv_in", "int8")] });
        yield return Case("steps", r => r with { Steps = 1001 });
        yield return Case("batch", r => r with { Batch = 0 });
        yield return Case("float type", r => r with { FloatType = DType.I8 });

        static TestCaseData Case(string name, Func<QuantizationRequest, QuantizationRequest> change) => new TestCaseData(change).SetArgDisplayNames(name);
    }

    [TestCase(30.0, 29.5, true)]
    [TestCase(30.0, 29.4, false)]
    [TestCase(30.0, 31.0, true)]
    [TestCase(null, null, true)]
    [TestCase(null, 60.0, false)]
    [TestCase(30.0, null, true)]
    public void AttentionsMayCostHalfADecibel(double? inFloat, double? faster, bool expected) => Assert.That(AttentionChoice.CostsLittle(inFloat, faster), Is.EqualTo(expected));

    [Test]
    public void WhatWasChosenForAttentionsIsInTheFileAndInTheReport()
    {
        QualityReport report = ModelQuantizer.Run(_request with { Attention = null });
        AttentionChoice choice = report.Attention!;
        using SourceModel model = SourceModel.Open(_folder["low"]);
        Assert.That(model.Quantization!.Attention.ToString().ToLowerInvariant(), Is.EqualTo(choice.Chosen));
        Assert.That(report.Trajectory[^1].Psnr, Is.EqualTo(choice.Psnr[choice.Chosen]), "the report is of what was chosen");
        if (choice.Chosen == "int8") Assert.That(AttentionChoice.CostsLittle(choice.Psnr["float"], choice.Psnr["int8"]));
        Assert.That(report.ToText(), Does.Contain($"attentions in {choice.Chosen}"));
        Assert.That(choice.Psnr["int8"], Is.Not.EqualTo(choice.Psnr["float"]), "the tiny network has attentions");
    }

    [TestCaseSource(nameof(BadRequests))]
    public void RequestsThatMakeNoSenseAreRefused(Func<QuantizationRequest, QuantizationRequest> change)
    {
        Assert.That(() => ModelQuantizer.Run(change(_request)), Throws.TypeOf<InvalidRequestException>());
        Assert.That(Directory.Exists(_folder["low"]), Is.False);
    }

    [Test]
    public void AMissingModelIsNamed() =>
        Assert.That(() => ModelQuantizer.Run(_request with { Model = _folder["nowhere"] }), Throws.TypeOf<ModelFormatException>().With.Message.Contains("nowhere"));

    [Test]
    public void ModelsWithOldNamesAreWrittenWithNewOnes()
    {
        TinyModel.Write(_folder["legacy"]);
        string weights = Path.Combine(_folder["legacy"], "unet", ComponentFolder.WeightFile);
        using (SourceModel source = SourceModel.Open(_folder["float"]))
            SafeTensorsWriter.Write(weights, [.. source.Tensors.Tensors.Values.Select(info => (info with { Name = source.Network.LegacyNames(info.Name).FirstOrDefault() ?? info.Name }, source.Tensors.ReadBytes(info.Name)))]);
        using (SafeTensorsFile file = SafeTensorsFile.Open(weights)) Assert.That(file.Tensors.Keys, Has.Some.Contains(".query."), "the file has old names");
        ModelQuantizer.Run(_request with { Model = _folder["legacy"], Rules = [PrecisionRules.Parse("*.to_q=float")], ReportImages = 0 });
        using SourceModel model = SourceModel.Open(_folder["low"]);
        Assert.That(model.Tensors.Tensors.Keys.Where(name => name.Contains(".query.", StringComparison.Ordinal)), Is.Empty);
        Assert.That(model.Tensors.Tensors.Keys, Has.Some.Contains(".to_q.weight"));
    }
}

using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Correction;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Correction;

/// <summary>A correction is collected into a quantized folder, makes its predictions better, and can be removed.</summary>
[TestFixture]
internal sealed class PredictionCorrectorTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Quantize()
    {
        _folder = new TemporaryFolder();
        TinyModel.Write(_folder["float"]);
        ModelQuantizer.Run(new QuantizationRequest { Model = _folder["float"], Output = _folder["low"], WeightBits = 3, ActivationBits = 6, Images = 2, Batch = 2, ReportImages = 0 });
    }

    [TearDown]
    public void Remove() => _folder.Dispose();

    [Test]
    public async Task ErrorsBecomeSmallerAndPicturesAreDrawnWithIt()
    {
        float[] before = await Draw();
        CorrectionReport report = PredictionCorrector.Run(Request());
        Assert.Multiple(() =>
        {
            Assert.That(report.Points.Select(point => point.Timestep), Is.EqualTo([0f, 333f, 666f]), "ascending timesteps of three steps");
            foreach ((float timestep, double square, double after) in report.Points) Assert.That(after, Is.LessThan(square), $"timestep {timestep}");
        });
        PredictionCorrection read = PredictionCorrectionFile.Read(_folder["low/unet"])!;
        Assert.That(read.Slopes.ToArray(), Is.EqualTo(report.Correction.Slopes.ToArray()));
        Assert.That(read.Biases.ToArray(), Is.EqualTo(report.Correction.Biases.ToArray()));
        Assert.That(read.Deviations.ToArray(), Is.EqualTo(report.Correction.Deviations.ToArray()));
        Assert.That(await Draw(), Is.Not.EqualTo(before));
        Assert.That(PredictionCorrector.Remove(_folder["low"]), Is.True);
        Assert.That(await Draw(), Is.EqualTo(before), "without the correction as before");
        Assert.That(PredictionCorrector.Remove(_folder["low"]), Is.False);
    }

    [Test]
    public void TheSameSeedGivesTheSameFileForAnyBatch()
    {
        PredictionCorrector.Run(Request());
        double[] one = PredictionCorrectionFile.Read(_folder["low/unet"])!.Biases.ToArray();
        PredictionCorrector.Run(Request() with { Batch = 1 });
        Assert.That(PredictionCorrectionFile.Read(_folder["low/unet"])!.Biases.ToArray(), Is.EqualTo(one).Within(1e-9));
    }

    [Test]
    public async Task AnotherGuidanceIsRefused()
    {
        PredictionCorrector.Run(Request());
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_folder["low"]);
        Assert.That(async () => await pipeline.GenerateAsync(new() { Labels = [1], GuidanceScale = 3 }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("expected 1.5").And.Message.Contains("found 3"));
        Assert.That(async () => await pipeline.GenerateAsync(new() { Labels = [1], Steps = 7, Eta = 1 }), Throws.Nothing, "other steps take the nearest timestep's entry");
    }

    [Test]
    public void ModelsThatDoNotFitAreRefused()
    {
        TinyModel.Write(_folder["large"], size: 16);
        Assert.Multiple(() =>
        {
            Assert.That(() => PredictionCorrector.Run(Request() with { Model = _folder["float"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("is not quantized"));
            Assert.That(() => PredictionCorrector.Run(Request() with { Reference = _folder["low"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("expected the float model"));
            Assert.That(() => PredictionCorrector.Run(Request() with { Reference = _folder["large"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("[1, 1, 16, 16]"));
            Assert.That(() => PredictionCorrector.Run(Request() with { Images = 0 }), Throws.TypeOf<InvalidRequestException>());
        });
        Assert.That(PredictionCorrectionFile.Read(_folder["low/unet"]), Is.Null);
    }

    [Test]
    public void ACancelledRunLeavesTheFolderAsItWas()
    {
        using CancellationTokenSource stop = new();
        Watcher<double> progress = new(_ => stop.Cancel());
        Assert.That(() => PredictionCorrector.Run(Request(), progress, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.GetFiles(_folder["low/unet"]), Has.Length.EqualTo(2));
    }

    private CorrectionRequest Request() => new() { Model = _folder["low"], Reference = _folder["float"], Images = 4, Batch = 2 };

    private async Task<float[]> Draw()
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_folder["low"]);
        return (await pipeline.GenerateAsync(new() { Labels = [3], Seed = 99 }))[0].Sample;
    }
}

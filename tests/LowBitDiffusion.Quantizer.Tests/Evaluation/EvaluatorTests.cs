using System.Text.Json;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Evaluation;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Evaluation;

/// <summary>Two models draw the same noise and their pictures are compared.</summary>
[TestFixture]
internal sealed class EvaluatorTests
{
    private static readonly EvaluationOptions s_options = new(Count: 5, Steps: 2, Batch: 3, SheetImages: 4);

    private TemporaryFolder _folder = null!;
    private Ruler _ruler = null!;

    [SetUp]
    public void Open()
    {
        _folder = new TemporaryFolder();
        _ruler = Ruler.Load(Repository.Model("fashion-classifier"));
        TinyModel.Write(_folder["float"], size: 16);
    }

    [TearDown]
    public void Remove() => _folder.Dispose();

    [Test]
    public async Task AModelEqualsItself()
    {
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(_folder["float"]), same = model.Share();
        (EvaluationResult result, Image sheet) = await Evaluator.CompareAsync(model, same, _ruler, s_options);
        Assert.That(result.Pairs, Has.Count.EqualTo(5));
        Assert.That(result.MeanPsnr, Is.Null, "no pair differs");
        Assert.That(result.MeanSsim, Is.EqualTo(1).Within(1e-9));
        Assert.That(result.MutualFrechetDistance, Is.LessThan(1e-6));
        Assert.That(result.Score, Is.EqualTo(result.ReferenceScore));
        Assert.That(result.Score!.LabelAccuracy, Is.EqualTo(result.Pairs.Count(pair => pair.Predicted == pair.Label) / 5.0));
        Assert.That(result.Pairs.Select(pair => (pair.Seed, pair.Label)), Is.EqualTo(Enumerable.Range(0, 5).Select(i => ((ulong)i, (int?)i))), "seeds and labels take turns");
        Assert.That(sheet.Width, Is.GreaterThan(4 * 3 * 16), "four pictures of 16 pixels at three times their size, beside the models' names");
        Assert.That(sheet.Height, Is.InRange(2 * 3 * 16, 3 * 3 * 16), "two rows");
    }

    [Test]
    public async Task AQuantizedModelIsMeasuredAgainstItsOrigin()
    {
        ModelQuantizer.Run(new QuantizationRequest { Model = _folder["float"], Output = _folder["low"], WeightBits = 4, Images = 2, Batch = 2, Steps = 2, ReportImages = 0 });
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(_folder["low"]), reference = await DiffusionPipeline.LoadAsync(_folder["float"]);
        (EvaluationResult result, _) = await Evaluator.CompareAsync(model, reference, _ruler, s_options);
        Assert.That(result.MeanPsnr, Is.EqualTo(result.Pairs.Average(pair => pair.Psnr)).And.InRange(5.0, 60.0));
        Assert.That(result.MeanSsim, Is.LessThan(1));
        Assert.That(result.MutualFrechetDistance, Is.GreaterThan(0));
        using JsonDocument json = JsonDocument.Parse(result.ToJson());
        Assert.That(json.RootElement.GetProperty("mean_psnr").GetDouble(), Is.EqualTo(result.MeanPsnr), "JSON");
        Assert.That(result.ToText(), Does.Contain("label accuracy").And.Contain("dB"));
    }

    [Test]
    public async Task TheBatchDoesNotMatter()
    {
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(_folder["float"]);
        (EvaluationResult one, _) = await Evaluator.CompareAsync(model, model, _ruler, s_options with { Batch = 1 });
        (EvaluationResult five, _) = await Evaluator.CompareAsync(model, model, _ruler, s_options with { Batch = 5 });
        Assert.That(one.Score, Is.EqualTo(five.Score));
        Assert.That(one.Pairs, Is.EqualTo(five.Pairs));
    }

    [Test]
    public async Task ModelsOfDifferentShapesAreRefused()
    {
        TinyModel.Write(_folder["small"], size: 8);
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(_folder["small"]), reference = await DiffusionPipeline.LoadAsync(_folder["float"]);
        Assert.That(async () => await Evaluator.CompareAsync(model, reference, _ruler, s_options), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("1x8x8").And.Message.Contains("1x16x16"));
    }

    private static IEnumerable<TestCaseData> BadOptions()
    {
        yield return new TestCaseData(s_options with { Count = 0 }).SetArgDisplayNames("no pictures");
        yield return new TestCaseData(s_options with { Batch = 0 }).SetArgDisplayNames("no batch");
        yield return new TestCaseData(s_options with { SheetImages = 0 }).SetArgDisplayNames("no sheet");
        yield return new TestCaseData(s_options with { Steps = 0 }).SetArgDisplayNames("no steps");
    }

    [TestCaseSource(nameof(BadOptions))]
    public async Task OptionsThatMakeNoSenseAreRefused(EvaluationOptions options)
    {
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(_folder["float"]);
        Assert.That(async () => await Evaluator.CompareAsync(model, model, _ruler, options), Throws.TypeOf<InvalidRequestException>());
    }

    [Test]
    public async Task CancellationStopsTheComparison()
    {
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(_folder["float"]);
        using CancellationTokenSource stop = new();
        await stop.CancelAsync();
        Assert.That(async () => await Evaluator.CompareAsync(model, model, _ruler, s_options, cancellationToken: stop.Token), Throws.InstanceOf<OperationCanceledException>());
    }
}

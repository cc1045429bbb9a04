using System.Text.Json.Nodes;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Evaluation;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Evaluation;

/// <summary>Many models against one float model: the figures of <see cref="Evaluator"/>, trajectories, and a cache that continues, extends and notices changes.</summary>
[TestFixture]
internal sealed class ModelComparerTests
{
    private static TemporaryFolder s_models = null!;

    private TemporaryFolder _folder = null!;

    [OneTimeSetUp]
    public void Quantize()
    {
        s_models = new TemporaryFolder();
        TinyModel.Write(s_models["float"], size: 16);
        foreach (int bits in (int[])[4, 8])
            ModelQuantizer.Run(new QuantizationRequest { Model = s_models["float"], Output = s_models[$"w{bits}"], WeightBits = bits, Images = 2, Batch = 2, Steps = 2, ReportImages = 0 });
    }

    [OneTimeTearDown]
    public void RemoveModels() => s_models.Dispose();

    [SetUp]
    public void Open() => _folder = new TemporaryFolder();

    [TearDown]
    public void Remove() => _folder.Dispose();

    [Test]
    public async Task TheFiguresAreThoseOfAnEvaluation()
    {
        (ComparisonResult result, _) = await ModelComparer.RunAsync(Request("w8", "w4") with { Classifier = Repository.Model("fashion-classifier") });
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(s_models["w4"]), reference = await DiffusionPipeline.LoadAsync(s_models["float"]);
        (EvaluationResult expected, _) = await Evaluator.CompareAsync(model, reference, Ruler.Load(Repository.Model("fashion-classifier")), Request().Drawing);
        ComparedModel row = result.Models[1];
        Assert.Multiple(() =>
        {
            Assert.That((row.Psnr, row.Ssim, row.LabelAccuracy, row.FrechetDistance, row.FrechetDistanceToReference), Is.EqualTo((expected.MeanPsnr, expected.MeanSsim, expected.Score!.LabelAccuracy, expected.Score.FrechetDistance, expected.MutualFrechetDistance)));
            Assert.That(row.Trajectory, Is.EqualTo(expected.Trajectory));
            Assert.That((result.Reference.LabelAccuracy, result.Reference.FrechetDistance), Is.EqualTo((expected.ReferenceScore!.LabelAccuracy, expected.ReferenceScore.FrechetDistance)));
            Assert.That((row.Name, row.Precision, row.Method), Is.EqualTo(("w4", "w4a8", "mse")));
            Assert.That(result.Models[0].Psnr, Is.GreaterThan(row.Psnr!.Value), "eight bits are nearer than four");
            Assert.That(row.FileBytes, Is.LessThan(result.Models[0].FileBytes).And.GreaterThan(0));
            Assert.That(row.BitOperationsPerStep, Is.LessThan(result.Models[0].BitOperationsPerStep));
            Assert.That(result.Models[0].BitOperationsPerStep, Is.LessThan(result.Reference.BitOperationsPerStep));
        });
    }

    [Test]
    public async Task TheTrajectoryIsThatOfTheSamples()
    {
        (ComparisonResult result, _) = await ModelComparer.RunAsync(Request("w4") with { Drawing = Request().Drawing with { Trajectories = 3 } });
        Assert.That(result.Trajectories, Is.EqualTo(3));
        Assert.That(result.Models[0].Trajectory.Select(point => point.Timestep), Is.EqualTo([500f, 0f]), "the sampler's timesteps");

        // In pixels and with clipped samples, the last point is the error of the pictures, pooled over the watched ones.
        await using DiffusionPipeline model = await DiffusionPipeline.LoadAsync(s_models["w4"]), reference = await DiffusionPipeline.LoadAsync(s_models["float"]);
        double noise = 0, count = 0;
        GenerationRequest request = new() { Labels = [0, 1, 2], Steps = 2 };
        foreach ((GeneratedImage x, GeneratedImage y) in (await reference.GenerateAsync(request)).Zip(await model.GenerateAsync(request)))
        {
            noise += x.Sample.Zip(y.Sample, (a, b) => Math.Pow(a - (double)b, 2)).Sum();
            count += x.Sample.Length;
        }

        Assert.That(result.Models[0].Trajectory[^1].Psnr, Is.EqualTo(10 * Math.Log10(4 / (noise / count))).Within(1e-9));
        Assert.That(result.TrajectoryPlot().Series.Single().Y, Is.EqualTo(result.Models[0].Trajectory.Select(point => point.Psnr!.Value)));
    }

    [Test]
    public async Task WhatWasJudgedIsNotDrawnAgain()
    {
        (ComparisonResult first, Image one) = await ModelComparer.RunAsync(Request("w8"));
        Dictionary<string, DateTime> before = Written();
        (ComparisonResult more, Image two) = await ModelComparer.RunAsync(Request("w8", "w4"));
        Dictionary<string, DateTime> after = Written();
        Assert.Multiple(() =>
        {
            Assert.That(before.All(file => after[file.Key] == file.Value), "files of before stay as they are");
            Assert.That(after, Has.Count.EqualTo(before.Count + 2), "figures and pictures of one more model");
            Assert.That(more.Models[0], Is.EqualTo(first.Models[0]).UsingPropertiesComparer());
            Assert.That(two.Height, Is.GreaterThan(one.Height), "one more row");
        });
        (_, Image fresh) = await ModelComparer.RunAsync(Request("w8", "w4") with { Fresh = true });
        Assert.That(Written().All(file => after[file.Key] < file.Value), "--fresh draws all again");
        Assert.That(fresh.Pixels, Is.EqualTo(two.Pixels), "pictures from the cache are the same");
    }

    [Test]
    public async Task AChangedModelAndAnotherSettingAreDrawn()
    {
        string changed = TinyModelCopy("w4");
        await ModelComparer.RunAsync(Request() with { Models = [changed] });
        int before = Written().Count;
        JsonObject scheduler = JsonNode.Parse(File.ReadAllText(Path.Combine(changed, "scheduler", "scheduler_config.json")))!.AsObject();
        scheduler["clip_sample_range"] = 0.5;
        File.WriteAllText(Path.Combine(changed, "scheduler", "scheduler_config.json"), scheduler.ToJsonString());
        (ComparisonResult result, _) = await ModelComparer.RunAsync(Request() with { Models = [changed] });
        Assert.That(Written(), Has.Count.EqualTo(before + 2), "another model");
        (ComparisonResult other, _) = await ModelComparer.RunAsync(Request() with { Models = [changed], Drawing = Request().Drawing with { Seed = 1 } });
        Assert.That(Written(), Has.Count.EqualTo(before + 2 + 3), "another reference, too");
        Assert.That(other.Models[0].Psnr, Is.Not.EqualTo(result.Models[0].Psnr));
    }

    [Test]
    public async Task ADamagedCacheIsDrawnAgain()
    {
        (ComparisonResult first, _) = await ModelComparer.RunAsync(Request("w4"));
        foreach (string file in Directory.GetFiles(_folder.Path)) File.WriteAllBytes(file, File.ReadAllBytes(file)[..^7]);
        (ComparisonResult again, _) = await ModelComparer.RunAsync(Request("w4"));
        Assert.That(again.Models[0], Is.EqualTo(first.Models[0]).UsingPropertiesComparer());
    }

    [Test]
    public async Task AStoppedComparisonKeepsWhatItHas()
    {
        using CancellationTokenSource stop = new();
        Assert.That(async () => await ModelComparer.RunAsync(Request("w8", "w4"), new Watcher<ComparisonProgress>(report => { if (report.Model == "w4") stop.Cancel(); }), stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Written().Keys, Has.Exactly(1).EndsWith(".json").And.Exactly(1).EndsWith(".safetensors").And.None.EndsWith(".tmp"));
    }

    private static IEnumerable<TestCaseData> Misfits()
    {
        yield return new TestCaseData("float", "is not quantized").SetArgDisplayNames("not quantized");
        yield return new TestCaseData("small", "1x8x8").SetArgDisplayNames("another resolution");
        yield return new TestCaseData("plain", "is missing in the one and").SetArgDisplayNames("another network");
        yield return new TestCaseData("missing", "no such folder").SetArgDisplayNames("missing");
    }

    [TestCaseSource(nameof(Misfits))]
    public void ModelsThatDoNotFitAreRefused(string model, string message)
    {
        if (model is "small" or "plain")
        {
            TinyModel.Write(_folder["other"], size: model == "small" ? 8 : 16);
            string path = Path.Combine(_folder["other"], "unet", "config.json");
            JsonObject config = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
            if (model == "plain") config["mid_block_type"] = null;
            File.WriteAllText(path, config.ToJsonString());
            ModelQuantizer.Run(new QuantizationRequest { Model = _folder["other"], Output = _folder[model], Images = 1, Batch = 1, Steps = 1, ReportImages = 0 });
        }

        string folder = Directory.Exists(_folder[model]) ? _folder[model] : s_models[model];
        Assert.That(async () => await ModelComparer.RunAsync(Request() with { Models = [s_models["w4"], folder] }), Throws.InstanceOf<LowBitDiffusionException>().With.Message.Contains(message));
        Assert.That(Directory.Exists(_folder["cache"]), Is.False, "nothing is drawn before all models were looked at");
    }

    [Test]
    public void AQuantizedReferenceIsRefused() =>
        Assert.That(async () => await ModelComparer.RunAsync(Request("w4") with { Reference = s_models["w8"] }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("expected the float model"));

    private ComparisonRequest Request(params string[] models) => new()
    {
        Models = [.. models.Select(model => s_models[model])],
        Reference = s_models["float"],
        Cache = _folder.Path,
        Drawing = new EvaluationOptions(Count: 5, Steps: 2, GuidanceScale: 1.5f, Batch: 4, SheetImages: 3, Trajectories: 5),
    };

    private Dictionary<string, DateTime> Written() => Directory.GetFiles(_folder.Path).ToDictionary(file => file, File.GetLastWriteTimeUtc);

    private string TinyModelCopy(string model)
    {
        string target = _folder["copy"];
        foreach (string file in Directory.GetFiles(s_models[model], "*", SearchOption.AllDirectories))
        {
            string copy = Path.Combine(target, Path.GetRelativePath(s_models[model], file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }

        return target;
    }
}

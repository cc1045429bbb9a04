using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>A memory budget is kept by drawing in another way, and pictures stay what they are; what does not fit in any way is refused.</summary>
[NonParallelizable]
public sealed class MemoryPlanTests
{
    private static readonly GenerationRequest Request = new() { Prompts = ["a cat", "a dog", "cat dog"], NegativePrompt = "dog", Steps = 2, GuidanceScale = 3 };

    // Small tiles, so that decoding does not decide.
    private static readonly DecodeTiling Tiles = DecodeTiling.OfSize(8);

    private TemporaryFolder _folder = null!;
    private string _model = null!;

    [OneTimeSetUp]
    public void SetUp()
    {
        _folder = new TemporaryFolder();
        _model = TinyFolder.StableDiffusion(_folder.Path);
        string index = _folder["model_index.json"];
        File.WriteAllText(index, "{ \"default_num_inference_steps\": 2," + File.ReadAllText(index).TrimStart()[1..]);
    }

    [OneTimeTearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void An_estimate_has_all_components()
    {
        MemoryEstimate estimate = DiffusionPipeline.EstimateMemory(_model);

        Assert.That(
            estimate.Parts.Select(part => part.Part),
            Is.EquivalentTo(new[] { "unet weights", "vae weights", "text_encoder weights", "unet activations", "vae activations", "text_encoder activations" }));
        Assert.That(estimate.Parts.Select(part => part.Bytes), Is.All.Positive);
    }

    [Test]
    public async Task Memory_is_what_was_estimated()
    {
        long before = NativeBuffer.LiveBytes;
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model, new() { MaxBatch = 2, Threads = 2 });
        await pipeline.GenerateAsync(new() { Prompts = ["cat", "dog"] });

        MemoryEstimate estimate = DiffusionPipeline.EstimateMemory(_model, new() { MaxBatch = 2, Threads = 2 });
        Assert.That(NativeBuffer.LiveBytes - before, Is.EqualTo(estimate.Total).Within(10).Percent, estimate.ToString());
    }

    [Test]
    public async Task Under_a_budget_the_same_pictures_are_drawn_in_less_memory()
    {
        float[][] expected = await Draw(null);
        List<string> ways = [];
        long budget = Total(null);
        for (; ; budget = budget * 59 / 60)
        {
            MemoryPlan plan;
            try
            {
                using DiffusionModel model = DiffusionModel.Open(_model, new() { MemoryBudget = budget, Threads = 2, DecodeTiling = Tiles });
                plan = GenerationPlan.Create(Request, model).Memory;
            }
            catch (MemoryBudgetException)
            {
                break;
            }

            Assert.That(plan.Estimate.Total, Is.LessThanOrEqualTo(budget));
            string way = $"batch {plan.Batch}{(plan.TwoPasses ? " in two passes" : "")}, {(plan.KeepsActivations ? "all kept" : plan.KeepsTextEncoders ? "weights kept" : "text encoder freed")}";
            if (ways.Contains(way)) continue;
            ways.Add(way);
            TestContext.Out.WriteLine($"{budget}: {way}");
            float[][] found = await Draw(budget);
            for (int i = 0; i < found.Length; i++) Assert.That(StraightLine.Error(expected[i], found[i]), Is.LessThan(1e-5), $"image {i}, {way}");
        }

        Assert.That(ways, Has.Count.GreaterThan(3), "ways of drawing");
        Assert.That(ways, Has.Some.Contain("two passes").And.Some.Contain("text encoder freed"));
    }

    [Test]
    public void Latents_are_decoded_in_tiles_where_whole_ones_do_not_fit()
    {
        GenerationRequest large = Request with { Prompts = ["cat"], Height = 256, Width = 192 };
        using DiffusionModel free = DiffusionModel.Open(_model, new() { Threads = 2 });
        MemoryPlan unlimited = GenerationPlan.Create(large, free).Memory;
        long most = unlimited.Estimate.Parts.Where(part => part.Part.EndsWith("weights")).Sum(part => part.Bytes) + unlimited.Estimate.Parts.Where(part => part.Part.EndsWith("activations")).Max(part => part.Bytes);

        using DiffusionModel model = DiffusionModel.Open(_model, new() { Threads = 2, MemoryBudget = most - 1_000_000 });
        MemoryPlan plan = GenerationPlan.Create(large, model).Memory;

        Assert.That(unlimited.Tiling, Is.Null);
        Assert.That(plan.Tiling, Is.EqualTo(DecodeTiling.OfSize(37)), "two by two of a quarter of overlap");
        Assert.That(plan.Batch, Is.EqualTo(1));
        Assert.That(plan.KeepsTextEncoders);
    }

    [Test]
    public async Task Text_encoders_are_freed_and_read_again()
    {
        long all = Total(null), text = DiffusionPipeline.EstimateMemory(_model).Parts.Single(part => part.Part == "text_encoder weights").Bytes;
        long least = Least();
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model, new() { MemoryBudget = least, Threads = 2 });
        long before = pipeline.WeightBytes;
        await pipeline.GenerateAsync(Request);
        Watcher<GenerationProgress> told = new();
        await pipeline.GenerateAsync(Request, told);

        Assert.That(all, Is.GreaterThan(least));
        Assert.That(pipeline.WeightBytes, Is.LessThan(before + text), "bytes of weights after encoding");
        double encoded = told.Reports.First(report => !report.UnderWay).Fraction;
        Assert.That(told.Reports.Min(report => report.Fraction), Is.LessThan(encoded / 10), "progress of encoding when the first layers are read");
    }

    [Test]
    public void A_request_too_large_for_the_budget_is_refused()
    {
        using DiffusionModel model = DiffusionModel.Open(_model, new() { MemoryBudget = Least(), Threads = 2 });

        Assert.That(() => GenerationPlan.Create(Request with { Height = 1024, Width = 1024 }, model), Throws.TypeOf<MemoryBudgetException>().With.Message.Contains("activations"));
    }

    private async Task<float[][]> Draw(long? budget)
    {
        long before = NativeBuffer.LiveBytes;
        float[][] samples;
        await using (DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model, new() { MemoryBudget = budget, Threads = 2, DecodeTiling = Tiles }))
        {
            // Every stage reports while it holds its memory.
            long peak = 0;
            Watcher<GenerationProgress> watcher = new(_ => peak = Math.Max(peak, NativeBuffer.LiveBytes));
            samples = [.. (await pipeline.GenerateAsync(Request, watcher)).Select(image => image.Sample)];
            if (budget is { } most) Assert.That(peak - before, Is.LessThanOrEqualTo(most), "bytes while drawing");
        }

        Assert.That(NativeBuffer.LiveBytes, Is.EqualTo(before), "bytes after the pipeline is gone");
        return samples;
    }

    private long Total(long? budget) => DiffusionPipeline.EstimateMemory(_model, new() { MemoryBudget = budget, Threads = 2 }).Total;

    private long Least()
    {
        long budget = Total(null);
        while (true)
        {
            try
            {
                Total(budget * 19 / 20);
                budget = budget * 19 / 20;
            }
            catch (MemoryBudgetException)
            {
                return budget;
            }
        }
    }
}

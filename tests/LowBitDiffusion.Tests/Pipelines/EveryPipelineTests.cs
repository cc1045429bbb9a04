using LowBitDiffusion.Formats;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>Every pipeline reports what it does and stops at once, whatever it is at.</summary>
public sealed class EveryPipelineTests
{
    private const int Steps = 3;

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    public static IEnumerable<TestCaseData> Pipelines()
    {
        GenerationStage[] text = [GenerationStage.Encoding, GenerationStage.Sampling, GenerationStage.Decoding];
        yield return Case("SD1", TinyFolder.StableDiffusion, new() { Prompts = ["a cat"] }, text);
        yield return Case("SD2", TinyFolder.StableDiffusion2, new() { Prompts = ["a cat"] }, text);
        yield return Case("SDXL", TinyFolder.StableDiffusionXL, new() { Prompts = ["a cat"] }, text);
        yield return Case("PixArt", TinyFolder.PixArt, new() { PromptEmbeddings = Embeddings(), GuidanceScale = 1 }, text[1..]);
        yield return Case("DiT", TinyFolder.DiT, new() { Labels = [3] }, text[1..]);
        yield return Case("LDM with VQ", TinyFolder.LatentDiffusion, new(), text[1..]);
        yield return Case("LDM with KL", TinyFolder.LatentDiffusionKL, new(), text[1..]);
        yield return Case("class UNet", TinyFolder.ClassUNet, new() { Labels = [3], GuidanceScale = 2 }, [GenerationStage.Sampling]);
        yield return Case("DDPM", TinyFolder.Unconditional, new(), [GenerationStage.Sampling]);
        yield return Case("image to image", TinyFolder.StableDiffusion, new() { Prompts = ["a cat"], InitImage = StraightLineTests.Picture(), Strength = 1 }, text);

        static TestCaseData Case(string name, Func<string, string> write, GenerationRequest request, GenerationStage[] stages) => new TestCaseData(write, request, stages).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(Pipelines))]
    public async Task Every_stage_is_reported_and_can_be_stopped(Func<string, string> write, GenerationRequest request, GenerationStage[] stages)
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(write(_folder.Path), new() { Threads = 2 });
        request = request with { Steps = Steps, Height = 32, Width = 32 };
        Watcher<GenerationProgress> watcher = new();
        await pipeline.GenerateAsync(request, watcher);
        List<GenerationProgress> told = watcher.Reports;

        Assert.That(told.Select(progress => progress.Stage).Distinct(), Is.EqualTo(stages));
        Assert.That(told.Where(progress => progress.Stage == GenerationStage.Sampling).Select(progress => progress.Step), Is.EqualTo(Enumerable.Range(1, Steps)));
        Assert.That(told.Select(progress => progress.Fraction), Is.Ordered.Ascending);
        Assert.That(told[^1].Fraction, Is.EqualTo(1).Within(1e-9));
        Assert.That(told.Where(progress => progress.Stage == GenerationStage.Decoding && progress.UnderWay).Count, stages.Contains(GenerationStage.Decoding) ? Is.GreaterThan(10) : Is.Zero, "reports while latents are decoded");

        IReadOnlyList<GeneratedImage> kept = await pipeline.GenerateAsync(request), images = await pipeline.GenerateAsync(request with { KeepsSamples = false });
        Assert.That(images.Select(image => image.Image.Pixels), Is.EqualTo(kept.Select(image => image.Image.Pixels)), "pictures without samples");
        Assert.That((images[0].Sample.Length, kept[0].Sample.Length), Is.EqualTo((0, kept[0].Image.Pixels.Length)));
        foreach (GenerationStage stage in stages)
        {
            using CancellationTokenSource stop = new();
            int after = 0;
            Watcher<GenerationProgress> progress = new(step =>
            {
                if (stop.IsCancellationRequested) after++;
                if (step.Stage == stage) stop.Cancel();
            });
            await Assert.ThatAsync(() => pipeline.GenerateAsync(request, progress, stop.Token), Throws.InstanceOf<OperationCanceledException>(), $"{stage}");
            // Encoding and decoding report after every layer with weights.
            Assert.That(after, Is.Zero, $"reports after {stage} was cancelled");
        }
    }

    private static PromptEmbeddings Embeddings()
    {
        using InMemoryTensors tensors = new();
        return PromptEmbeddings.Read(tensors.Add("encoder_hidden_states", [6, 20], [.. Enumerable.Range(0, 6 * 20).Select(i => MathF.Sin(i))]));
    }
}

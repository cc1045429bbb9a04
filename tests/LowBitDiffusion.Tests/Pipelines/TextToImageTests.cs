using LowBitDiffusion.Formats;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Schedulers;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>What applications rely on of models that draw after a text: truncation is told, stages are reported, work stops at once, the same request gives the same bytes.</summary>
public sealed class TextToImageTests
{
    private static readonly GenerationRequest Cat = new() { Prompts = ["a cat"], Steps = 2, Height = 32, Width = 32 };

    private TemporaryFolder _folder = null!;
    private DiffusionPipeline _pipeline = null!;

    [OneTimeSetUp]
    public async Task SetUp()
    {
        _folder = new TemporaryFolder();
        _pipeline = await DiffusionPipeline.LoadAsync(TinyFolder.StableDiffusion(_folder.Path), new() { Threads = 2, MaxBatch = 2 });
    }

    [OneTimeTearDown]
    public void TearDown()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Test]
    public async Task What_of_a_prompt_has_no_effect_is_told()
    {
        // Sixteen places, start and end among them: seven pairs of cat and dog.
        string kept = string.Concat(Enumerable.Repeat("cat dog ", 7));
        GeneratedImage image = (await _pipeline.GenerateAsync(Cat with { Prompts = [kept + "Dog and CAT"], NegativePrompt = kept + "cat" }))[0];
        GeneratedImage cut = (await _pipeline.GenerateAsync(Cat with { Prompts = [kept], NegativePrompt = kept }))[0];

        Assert.That(image.Truncated.Select(prompt => (prompt.Dropped, prompt.Tokens)), Is.EqualTo(new[] { ("dog and cat", 16), ("cat", 16) }));
        Assert.That(cut.Truncated, Is.Empty);
        Assert.That(image.Sample, Is.EqualTo(cut.Sample), "the dropped words");
    }

    [TestCase("🙂🙂🙂"), TestCase("\0\u0001\u001b"), TestCase(""), TestCase("\ud800"), TestCase("<|endoftext|>")]
    public async Task Any_text_draws_something(string prompt)
    {
        float[] sample = (await _pipeline.GenerateAsync(Cat with { Prompts = [prompt] }))[0].Sample;

        Assert.That(sample.All(float.IsFinite));
    }

    [Test]
    public async Task An_image_of_a_batch_is_the_image_its_seed_and_prompt_give_alone()
    {
        IReadOnlyList<GeneratedImage> batch = await _pipeline.GenerateAsync(Cat with { Prompts = ["cat", "dog", "a cat"], Seeds = [1, 2, 3] });
        GeneratedImage alone = (await _pipeline.GenerateAsync(Cat with { Prompts = ["a cat"], Seeds = [3] }))[0];

        Assert.That(batch.Select(image => image.Prompt), Is.EqualTo(new[] { "cat", "dog", "a cat" }));
        Assert.That(batch[2].Sample, Is.EqualTo(alone.Sample));
        Assert.That(batch[2].Image.Pixels, Is.EqualTo(alone.Image.Pixels));
        Assert.That((await _pipeline.GenerateAsync(Cat with { Count = 3 })).Select(image => image.Seed), Is.EqualTo(new ulong[] { 0, 1, 2 }), "one prompt, several images");
    }

    [Test]
    public async Task Encoding_every_step_and_decoding_are_reported()
    {
        List<GenerationUpdate> updates = [];
        await foreach (GenerationUpdate update in _pipeline.StreamAsync(Cat with { Count = 3, InitImage = StraightLineTests.Picture(), Strength = 1 }, previews: true)) updates.Add(update);

        GenerationStage e = GenerationStage.Encoding, s = GenerationStage.Sampling, d = GenerationStage.Decoding;
        Assert.That(updates.Select(update => update.Progress.Stage), Is.EqualTo(new[] { e, e, s, s, d, d, s, s, d }));
        Assert.That(updates.Select(update => update.Progress.Fraction), Is.Ordered.Ascending);
        Assert.That(updates[^1].Progress.Fraction, Is.EqualTo(1).Within(1e-9));
        Assert.That(updates.Select(update => update.Previews.Count), Is.EqualTo(new[] { 0, 0, 2, 2, 0, 0, 1, 1, 0 }));
        Assert.That(updates.SelectMany(update => update.Finished).Select(image => image.Seed), Is.EqualTo(new ulong[] { 0, 1, 2 }));
    }

    [Test]
    public async Task Encoding_and_decoding_tell_how_far_they_are()
    {
        Watcher<GenerationProgress> watcher = new();
        await _pipeline.GenerateAsync(Cat with { InitImage = StraightLineTests.Picture(), Strength = 1 }, watcher);
        List<GenerationProgress> told = watcher.Reports;

        Assert.That(told.Select(progress => progress.Fraction), Is.Ordered.Ascending);
        Assert.That(told[^1].Fraction, Is.EqualTo(1).Within(1e-9));
        Assert.That(told.Where(progress => !progress.UnderWay).Select(progress => progress.Stage), Is.EqualTo(new[] { GenerationStage.Encoding, GenerationStage.Encoding, GenerationStage.Sampling, GenerationStage.Sampling, GenerationStage.Decoding }));
        // Two texts and an image are encoded by dozens of layers.
        Assert.That(told.Count(progress => progress is { UnderWay: true, Stage: GenerationStage.Encoding }), Is.GreaterThan(50));
        Assert.That(told.Count(progress => progress is { UnderWay: true, Stage: GenerationStage.Decoding }), Is.GreaterThan(20));
    }

    [TestCase(GenerationStage.Encoding), TestCase(GenerationStage.Sampling), TestCase(GenerationStage.Decoding)]
    public async Task Work_stops_at_every_stage(GenerationStage stage)
    {
        using CancellationTokenSource stop = new();
        int reports = 0;
        Watcher<GenerationProgress> progress = new(step =>
        {
            if (stop.IsCancellationRequested) reports++;
            if (step.Stage == stage) stop.Cancel();
        });

        await Assert.ThatAsync(() => _pipeline.GenerateAsync(Cat with { Count = 4 }, progress, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(reports, Is.Zero, "reports after the call was cancelled");
        Assert.That(await _pipeline.GenerateAsync(Cat), Has.Count.EqualTo(1), "the pipeline goes on working");
    }

    public static IEnumerable<string> Schedulers => SchedulerFactory.Supported.Where(name => name != "FlowMatchEulerDiscreteScheduler");

    [TestCaseSource(nameof(Schedulers))]
    public async Task Another_scheduler_draws_from_noise_and_from_an_image(string scheduler)
    {
        GeneratedImage drawn = (await _pipeline.GenerateAsync(Cat with { Scheduler = scheduler, Steps = 6 }))[0];
        GeneratedImage begun = (await _pipeline.GenerateAsync(Cat with { Scheduler = scheduler, Steps = 6, InitImage = StraightLineTests.Picture(), Strength = 0.5f }))[0];

        Assert.That(drawn.Sample.Concat(begun.Sample).All(float.IsFinite));
        Assert.That(begun.Sample, Is.Not.EqualTo(drawn.Sample));
    }

    public static IEnumerable<TestCaseData> BadRequests()
    {
        yield return Case("no prompt", new GenerationRequest(), "prompt", "found none");
        yield return Case("labels", Cat with { Labels = [1] }, "labels", "no labels");
        yield return Case("height", Cat with { Height = 30 }, "height", "multiple of 4", "found 30");
        yield return Case("width", Cat with { Width = 0 }, "width", "multiple of 4", "found 0");
        yield return Case("scheduler", Cat with { Scheduler = "MagicScheduler" }, "scheduler", "UniPCMultistepScheduler", "'MagicScheduler'");
        yield return Case("size of the initial image", Cat with { InitImage = new Image(16, 32, 3) }, "init image", "expected 32x32", "found 16x32");
        yield return Case("initial image of an odd size", new GenerationRequest { Prompts = ["a"], InitImage = new Image(30, 32, 3) }, "width", "multiple of 4", "found 30");
        yield return Case("strength", Cat with { InitImage = new Image(32, 32, 3), Strength = 0 }, "strength", "above 0 to 1");
        yield return Case("no step", Cat with { InitImage = new Image(32, 32, 3), Strength = 0.1f }, "strength", "at least one of 2 steps");
        yield return Case("width of embeddings", new GenerationRequest { PromptEmbeddings = Embeddings([4, 31]), GuidanceScale = 1 }, "prompt embeddings", "32 channels", "[1, 4, 31]");
        yield return Case("nothing to lead away from", new GenerationRequest { PromptEmbeddings = Embeddings([4, 32]) }, "guidance", "negative_encoder_hidden_states");
        yield return Case("prompt and embeddings", Cat with { PromptEmbeddings = Embeddings([4, 32]) }, "prompt embeddings", "both");

        static TestCaseData Case(string name, GenerationRequest request, string parameter, params string[] says) => new TestCaseData(request, parameter, says).SetArgDisplayNames(name);
    }

    [TestCaseSource(nameof(BadRequests))]
    public async Task A_request_that_does_not_fit_is_refused(GenerationRequest request, string parameter, string[] says)
    {
        InvalidRequestException error = (await Assert.ThrowsAsync<InvalidRequestException>(() => _pipeline.GenerateAsync(request)))!;

        Assert.That(error.Parameter, Is.EqualTo(parameter));
        foreach (string text in says) Assert.That(error.Message, Does.Contain(text));
    }

    [TestCase("encoder_hidden_states", new long[] { 4 }, "2 dimensions")]
    [TestCase("hidden", new long[] { 4, 32 }, "another name")]
    [TestCase("text_embeds", new long[] { 32 }, "'encoder_hidden_states'")]
    public void Embeddings_of_another_form_are_refused(string name, long[] shape, string says)
    {
        using InMemoryTensors tensors = new();
        tensors.Add(name, shape, new float[shape.Aggregate(1L, (a, b) => a * b)]);

        Assert.That(() => PromptEmbeddings.Read(tensors), Throws.TypeOf<ModelFormatException>().With.Message.Contains(says));
    }

    private static PromptEmbeddings Embeddings(long[] shape)
    {
        using InMemoryTensors tensors = new();
        return PromptEmbeddings.Read(tensors.Add("encoder_hidden_states", shape, new float[shape[0] * shape[1]]));
    }
}

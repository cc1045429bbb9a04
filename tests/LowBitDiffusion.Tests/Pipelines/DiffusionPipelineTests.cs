using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>What applications rely on: the same request gives the same bytes, calls may overlap, stop at once, and leave nothing behind.</summary>
[NonParallelizable]
public sealed class DiffusionPipelineTests
{
    private TemporaryFolder _folder = null!;
    private string _model = null!;

    [OneTimeSetUp]
    public void WriteModel()
    {
        _folder = new TemporaryFolder();
        _model = TinyModel.Write(_folder);
    }

    [OneTimeTearDown]
    public void DeleteModel() => _folder.Dispose();

    [Test]
    public async Task The_same_request_gives_the_same_bytes_for_any_number_of_threads([Values] NoiseSource noise, [Values(0f, 0.5f)] float eta)
    {
        GenerationRequest request = new() { Labels = [3, 1], Steps = 4, Seed = 7, NoiseSource = noise, Eta = eta };
        float[][] first = await Draw(request, threads: 1);

        foreach (int threads in new[] { 1, 2, 3 }) Assert.That(await Draw(request, threads), Is.EqualTo(first), $"{threads} threads");
    }

    [Test]
    public async Task An_image_of_a_batch_is_the_image_its_seed_gives_alone([Values(1, 2, 8)] int maxBatch)
    {
        float[][] batch = await Draw(new() { Labels = [0, 5, 9], Seeds = [11, 2, 11], Eta = 1 }, maxBatch: maxBatch);
        float[][] alone = await Draw(new() { Labels = [5], Seeds = [2], Eta = 1 });

        Assert.That(batch[1], Is.EqualTo(alone[0]));
        Assert.That(batch[2], Is.Not.EqualTo(batch[0]), "another label, the same seed");
    }

    [Test]
    public async Task Guidance_of_one_is_the_labelled_prediction()
    {
        float[][] plain = await Draw(new() { Labels = [4], GuidanceScale = 1 }), almost = await Draw(new() { Labels = [4], GuidanceScale = 1.00001f });

        Assert.That(plain[0], Is.EqualTo(almost[0]).Within(1e-3f), "guidance near one, computed with the null label as well");
        Assert.That(await Draw(new() { Labels = [4], GuidanceScale = 3 }), Is.Not.EqualTo(plain));
    }

    [Test]
    public async Task Calls_may_overlap()
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model);
        await using DiffusionPipeline shared = pipeline.Share();
        GenerationRequest[] requests = [.. Enumerable.Range(0, 6).Select(i => new GenerationRequest { Labels = [i], Seed = (ulong)i })];
        float[][] expected = [.. requests.Select(r => pipeline.GenerateAsync(r).Result[0].Sample)];

        IReadOnlyList<GeneratedImage>[] found = await Task.WhenAll(requests.Select((r, i) => (i % 2 == 0 ? pipeline : shared).GenerateAsync(r)));

        Assert.That(found.Select(images => images[0].Sample), Is.EqualTo(expected));
    }

    [Test]
    public async Task Cancellation_takes_effect_within_a_step()
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model);
        using CancellationTokenSource stop = new();
        int last = 0;
        Watcher<GenerationProgress> progress = new(p =>
        {
            last = p.Step;
            if (p.Step == 3) stop.Cancel();
        });

        Assert.That(async () => await pipeline.GenerateAsync(new() { Labels = [1], Steps = 100 }, progress, stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(last, Is.EqualTo(3), "steps reported after the call was cancelled");
        Assert.That(await pipeline.GenerateAsync(new() { Labels = [1] }), Has.Count.EqualTo(1), "the pipeline goes on working");
    }

    [Test]
    public async Task A_stream_shows_every_step_and_stops_when_its_reader_does()
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model);
        List<GenerationUpdate> updates = [];
        await foreach (GenerationUpdate update in pipeline.StreamAsync(new() { Labels = [1, 2], Steps = 5 }, previews: true)) updates.Add(update);
        float[][] drawn = [.. (await pipeline.GenerateAsync(new() { Labels = [1, 2], Steps = 5 })).Select(i => i.Sample)];

        Assert.That(updates.Select(u => u.Progress.Step), Is.EqualTo(new[] { 1, 2, 3, 4, 5 }));
        Assert.That(updates.Select(u => u.Previews.Count), Is.All.EqualTo(2));
        Assert.That(updates[^1].Finished.Select(i => i.Sample), Is.EqualTo(drawn));
        Assert.That(updates[^1].Progress.Fraction, Is.EqualTo(1).Within(1e-9));

        await foreach (GenerationUpdate update in pipeline.StreamAsync(new() { Labels = [1], Steps = 1000 })) break;
        Assert.That(await pipeline.GenerateAsync(new() { Labels = [1] }), Has.Count.EqualTo(1), "the pipeline goes on working");
    }

    [Test]
    public async Task Memory_does_not_grow_over_200_generations_and_is_freed_at_the_end()
    {
        long before = NativeBuffer.LiveBytes;
        await using (DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model))
        {
            for (int i = 0; i < 10; i++) await pipeline.GenerateAsync(new() { Labels = [i], Steps = 2, Seed = (ulong)i });
            long native = NativeBuffer.LiveBytes, managed = GC.GetTotalMemory(forceFullCollection: true);
            for (int i = 0; i < 200; i++) await pipeline.GenerateAsync(new() { Labels = [i % 10], Steps = 2, Seed = (ulong)i });

            Assert.That(NativeBuffer.LiveBytes, Is.EqualTo(native), "native bytes");
            Assert.That(GC.GetTotalMemory(forceFullCollection: true), Is.LessThan(managed + 256 * 1024), "managed bytes");
        }

        Assert.That(NativeBuffer.LiveBytes, Is.EqualTo(before), "native bytes after the pipeline is gone");
    }

    [Test]
    public async Task Weights_live_as_long_as_a_pipeline_that_shares_them()
    {
        long before = NativeBuffer.LiveBytes;
        DiffusionPipeline first = await DiffusionPipeline.LoadAsync(_model), second = first.Share();
        first.Dispose();
        Assert.That(await second.GenerateAsync(new() { Labels = [1] }), Has.Count.EqualTo(1));
        Assert.That(async () => await first.GenerateAsync(new() { Labels = [1] }), Throws.InstanceOf<ObjectDisposedException>());
        second.Dispose();
        Assert.That(NativeBuffer.LiveBytes, Is.EqualTo(before));
    }

    [Test]
    public async Task Memory_is_what_was_estimated()
    {
        PipelineOptions options = new() { MaxBatch = 4, Threads = 2 };
        MemoryEstimate estimate = DiffusionPipeline.EstimateMemory(_model, options);
        long before = NativeBuffer.LiveBytes;
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model, options);
        await pipeline.GenerateAsync(new() { Labels = [0, 1, 2, 3] });

        // The one-image plan that loading compiled stays beside the full batch's.
        Assert.That(NativeBuffer.LiveBytes - before, Is.EqualTo(estimate.Total).Within(25).Percent, estimate.ToString());
    }

    [Test]
    public async Task A_budget_that_is_too_small_is_refused_before_loading()
    {
        long before = NativeBuffer.LiveBytes;

        MemoryBudgetException error = (await Assert.ThrowsAsync<MemoryBudgetException>(() => DiffusionPipeline.LoadAsync(_model, new() { MemoryBudget = 100_000 })))!;

        Assert.That(error.Message, Does.Contain("weights").And.Contain("activations").And.Contain("97.7 KiB"));
        Assert.That(NativeBuffer.LiveBytes, Is.EqualTo(before));
    }

    public static IEnumerable<TestCaseData> BadRequests()
    {
        yield return new TestCaseData(new GenerationRequest { Labels = [10] }, "labels", "0 to 9").SetArgDisplayNames("the null label");
        yield return new TestCaseData(new GenerationRequest { Labels = [-1] }, "labels", "0 to 9").SetArgDisplayNames("a negative label");
        yield return new TestCaseData(new GenerationRequest(), "labels", "found none").SetArgDisplayNames("no label");
        yield return new TestCaseData(new GenerationRequest { Labels = [1], Steps = 0 }, "steps", "1 to 1000").SetArgDisplayNames("no steps");
        yield return new TestCaseData(new GenerationRequest { Labels = [1], Steps = 1001 }, "steps", "1 to 1000").SetArgDisplayNames("too many steps");
        yield return new TestCaseData(new GenerationRequest { Labels = [1], GuidanceScale = float.NaN }, "guidance", "finite").SetArgDisplayNames("guidance that is no number");
        yield return new TestCaseData(new GenerationRequest { Labels = [1], Eta = 2 }, "eta", "0 to 1").SetArgDisplayNames("eta above one");
        yield return new TestCaseData(new GenerationRequest { Labels = [1, 2], Seeds = [1] }, "seeds", "one per image, 2, found 1").SetArgDisplayNames("too few seeds");
    }

    [TestCaseSource(nameof(BadRequests))]
    public async Task A_request_that_does_not_fit_is_refused(GenerationRequest request, string parameter, string says)
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model);

        InvalidRequestException error = (await Assert.ThrowsAsync<InvalidRequestException>(() => pipeline.GenerateAsync(request)))!;

        Assert.That(error.Parameter, Is.EqualTo(parameter));
        Assert.That(error.Message, Does.Contain(says));
    }

    private async Task<float[][]> Draw(GenerationRequest request, int threads = 2, int maxBatch = 8)
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_model, new() { Threads = threads, MaxBatch = maxBatch });
        return [.. (await pipeline.GenerateAsync(request)).Select(i => i.Sample)];
    }
}

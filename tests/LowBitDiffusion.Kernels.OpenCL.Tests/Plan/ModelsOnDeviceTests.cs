using System.Text.Json;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Execution;
using LowBitDiffusion.Tests.Shared;
using LowBitDiffusion.Verification;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Plan;

/// <summary>Recorded networks and the repository's own models on a device.</summary>
[Category("Execution")]
public sealed class ModelsOnDeviceTests : ModelDeviceFixture
{
    private string _folder = null!;

    [SetUp]
    public void Make() => _folder = Directory.CreateTempSubdirectory("lbd-models").FullName;

    [TearDown]
    public void Remove() => Directory.Delete(_folder, recursive: true);

    public static IEnumerable<TestCaseData> Runs()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllBytes(Repository.Golden("index.json")));
        foreach (JsonElement entry in index.RootElement.GetProperty("cases").EnumerateArray())
        {
            if (entry.GetProperty("kind").GetString() != "model" || !NetworkRegistry.ClassNames.Contains(entry.GetProperty("class").GetString())) continue;
            foreach (JsonElement run in entry.GetProperty("runs").EnumerateArray())
                yield return new TestCaseData(entry.GetProperty("name").GetString(), run.GetProperty("file").GetString()).SetArgDisplayNames(entry.GetProperty("name").GetString()!, run.GetProperty("label").GetString()!);
        }
    }

    [TestCaseSource(nameof(Runs))]
    public void Recorded_outputs_and_activations_are_within_tolerance(string name, string run)
    {
        using GoldenCase golden = GoldenCase.Open(Repository.Golden(name));

        IReadOnlyList<GoldenComparison> comparisons = golden.Run(run, GoldenExecutors.Planned(Pool, device: Device));

        Assert.That(comparisons.Select(comparison => comparison.Name), Has.Some.StartsWith("out."), "nothing was compared");
        Assert.That(comparisons.Where(comparison => !comparison.Passed), Is.Empty, "tensors out of tolerance");
    }

    /// <summary>Every folder of models/ that draws.</summary>
    public static IEnumerable<string> Models() =>
        Directory.GetDirectories(Repository.Model("")).Where(folder => File.Exists(Path.Combine(folder, "model_index.json"))).Select(folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal);

    [TestCaseSource(nameof(Models))]
    public async Task A_model_draws_the_same_pictures_as_on_the_processor(string model)
    {
        using NetworkFolder network = NetworkFolder.Open(Repository.Model(model));
        // Of a picture's root mean square. Quantized models turn a rounding of the last digit into a step of a layer's codes here and there; a step of 4 bits is 16 of 8.
        int bits = network.Weights.QuantizedModules.Values.Select(module => module.Input.Bits).DefaultIfEmpty(32).Min();
        double bound = bits > 8 ? 1e-4 : bits == 8 ? 0.03 : 0.1;
        GenerationRequest request = new() { Labels = [3, 8], Steps = 4, Seed = 7 };
        float[] expected = await DrawAsync(ComputeDevice.Processor), found = await DrawAsync(Device.Name);

        double error = Difference.Relative(expected, found);
        TestContext.Out.WriteLine($"{model}: relative difference {error:G3}, largest {expected.Zip(found, (a, b) => Math.Abs(a - b)).Max():G3}");
        Assert.That(error, Is.LessThan(bound));

        async Task<float[]> DrawAsync(string device)
        {
            await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(Repository.Model(model), new() { Device = device, MeasureDevice = false, DeviceFloat = DeviceFloat.F32 });
            Assert.That(pipeline.Placement.Device, Does.StartWith(device), pipeline.Placement.Reason);
            return [.. (await pipeline.GenerateAsync(request)).SelectMany(image => image.Sample)];
        }
    }

    [Test]
    public async Task A_decoder_hands_over_bytes_where_no_floats_are_wanted()
    {
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(TinyFolder.DiT(_folder), new() { Device = Device.Name, MeasureDevice = false, DeviceFloat = DeviceFloat.F32 });
        GenerationRequest request = new() { Labels = [3, 8], Steps = 2, Seed = 7 };
        IReadOnlyList<GeneratedImage> expected = await pipeline.GenerateAsync(request), found = await pipeline.GenerateAsync(request with { KeepsSamples = false });

        Assert.That(found.Select(image => image.Image.Pixels), Is.EqualTo(expected.Select(image => image.Image.Pixels)));
        Assert.That(found.Select(image => image.Sample.Length), Is.All.Zero);
        Assert.That(expected.Select(image => image.Sample.Length), Is.EqualTo(found.Select(image => image.Image.Pixels.Length)));

        using NetworkFolder decoder = NetworkFolder.Open(Path.Combine(_folder, "vae"));
        using PreparedModel prepared = new(decoder.Network, decoder.Weights, device: Device);
        Dictionary<string, TensorShape> inputs = new() { ["latent"] = new(1, 4, 6, 5) };
        using PlannedNetwork network = prepared.Compile(inputs, Pool, outputs: ["decoded"]);
        Dictionary<string, float[]> latent = new() { ["latent"] = RandomModel.Normal(new Random(1), 120) };
        QueueStatistics before = network.DeviceStatistics;
        float[] sample = network.Run(latent)["decoded"];
        QueueStatistics floats = network.DeviceStatistics.Since(before);
        byte[] pixels = network.RunToPixels(latent);
        QueueStatistics bytes = network.DeviceStatistics.Since(before).Since(floats);

        TensorShape image = network.Outputs["decoded"].Shape;
        Assert.That(pixels, Is.EqualTo(Image.FromSample(sample, image.Channels, image[2], image[3]).Pixels));
        Assert.That((floats.BytesDown, bytes.BytesDown), Is.EqualTo((4L * sample.Length, sample.Length)), "bytes handed over");
        Assert.That(network.Run(latent)["decoded"], Is.EqualTo(sample), "and floats again");
    }

    [Test]
    public async Task Where_no_graphics_processor_works_the_processor_draws()
    {
        if (Device.Properties.Kind == DeviceKind.Gpu) Assert.Ignore("there is one");
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(Repository.Model("fashion-unet-w4a8"), new() { Device = ComputeDevice.Automatic });

        Assert.That(pipeline.Placement, Is.EqualTo(new PipelinePlacement(ComputeDevice.Processor, $"{Device.Properties} is no graphics processor")));
    }

    [TestCase("opencl:99", "there is no such device")]
    public async Task A_device_that_is_not_there_is_an_error(string specification, string problem)
    {
        DeviceException error = (await Assert.ThrowsAsync<DeviceException>(() => DiffusionPipeline.LoadAsync(Repository.Model("fashion-unet-w4a8"), new() { Device = specification })))!;
        Assert.That(error.Message, Does.Contain(problem).And.Contain(specification));
    }

    [Test]
    public async Task Device_memory_is_part_of_the_estimate_and_of_the_budget()
    {
        MemoryEstimate here = DiffusionPipeline.EstimateMemory(Repository.Model("fashion-unet-w4a8")), there = DiffusionPipeline.EstimateMemory(Repository.Model("fashion-unet-w4a8"), new() { Device = Device.Name });

        Assert.That(there.Parts.Select(p => p.Part), Is.EqualTo(here.Parts.Select(p => $"{p.Part} on {Device.Name}")));
        Assert.That(there.Total, Is.GreaterThan(here.Total / 2));
        PipelineOptions tight = new() { Device = Device.Name, MemoryBudget = 1 << 20 };
        MemoryBudgetException error = (await Assert.ThrowsAsync<MemoryBudgetException>(() => DiffusionPipeline.LoadAsync(Repository.Model("fashion-unet-w4a8"), tight)))!;
        Assert.That(error.Message, Does.Contain($"on {Device.Name}"));
    }
}

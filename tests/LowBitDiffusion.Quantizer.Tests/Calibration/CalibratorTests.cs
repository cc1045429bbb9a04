using LowBitDiffusion.Execution;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Calibration;

/// <summary>Ranges are those of the values that the float model computes on its own trajectories.</summary>
[TestFixture]
internal sealed class CalibratorTests
{
    private static readonly CalibrationOptions s_options = new(new SamplingSettings(2, 1.5f), Images: 2, Batch: 2, Seed: 5, RangeMethod.MinMax);

    private TemporaryFolder _folder = null!;
    private SourceModel _model = null!;

    [SetUp]
    public void Open()
    {
        _folder = new TemporaryFolder();
        _model = SourceModel.Open(TinyModel.Write(_folder.Path));
    }

    [TearDown]
    public void Close()
    {
        _model.Dispose();
        _folder.Dispose();
    }

    [Test]
    public void EveryTimestepOfTheSamplerIsCalibrated()
    {
        ActivationStatistics statistics = Reference(s_options);
        Assert.That(statistics.Timesteps, Is.EqualTo(new[] { 0f, 500f }));
        foreach ((string module, ActivationRange range) in statistics.Modules)
        {
            for (int step = 0; step < 2; step++)
            {
                for (int segment = 0; segment < range.Segments; segment++) Assert.That(range[step, segment].Count, Is.GreaterThan(0), $"{module} at step {step}, half {segment}");
            }
        }
    }

    [Test]
    public void TheFirstStepSeesTheNoiseOfTheSeeds()
    {
        float[] noise = new float[2 * 64];
        NoiseGenerators.CreateBatch(NoiseSource.TorchCpu, [5, 6]).FillNormal(noise);
        Assert.That(Reference(s_options).Modules["conv_in"][1, 0].Seen, Is.EqualTo(ValueRange.Of(noise)));
    }

    [Test]
    public void BatchesDoNotMatter()
    {
        ActivationStatistics one = Reference(s_options with { Batch = 1 }), two = Reference(s_options);
        foreach (string module in two.Modules.Keys) Assert.That(one.Modules[module][0, 0].Seen, Is.EqualTo(two.Modules[module][0, 0].Seen), module);
    }

    [Test]
    public void GuidanceShowsTheNetworkBothHalves()
    {
        long guided = Reference(s_options).Modules["conv_in"][0, 0].Count, alone = Reference(s_options with { Sampling = new SamplingSettings(2) }).Modules["conv_in"][0, 0].Count;
        Assert.That((guided, alone), Is.EqualTo((4 * 64L, 2 * 64L)));
    }

    [Test]
    public void ThePlannedExecutorShowsTheSameValuesAsTheReference()
    {
        using WorkerPool pool = new(2);
        ActivationStatistics planned = Calibrator.Run(Source(s_options), ObservedPlannedNetwork.Factory(_model.Network, _model.Weights, pool), "", _ => true, s_options), reference = Reference(s_options);
        Assert.That(planned.Modules.Keys, Is.EqualTo(reference.Modules.Keys));
        foreach ((string module, ActivationRange range) in planned.Modules)
        {
            for (int step = 0; step < 2; step++)
            {
                for (int segment = 0; segment < range.Segments; segment++)
                {
                    RangeObserver expected = reference.Modules[module][step, segment], found = range[step, segment];
                    Assert.That(found.Count, Is.EqualTo(expected.Count), $"{module}: values at step {step}, half {segment}");
                    Assert.That(found.Seen.Min, Is.EqualTo(expected.Seen.Min).Within(1e-4 * expected.Seen.Magnitude), $"{module}: smallest at step {step}, half {segment}");
                    Assert.That(found.Seen.Max, Is.EqualTo(expected.Seen.Max).Within(1e-4 * expected.Seen.Magnitude), $"{module}: largest at step {step}, half {segment}");
                }
            }
        }
    }

    [Test]
    public async Task TrajectoriesAreThoseOfThePipeline()
    {
        using WorkerPool pool = new(1);
        using PreparedModel prepared = new(_model.Network, _model.Weights);
        GuidedSampler sampler = new(_model, new SamplingSettings(3, 1.5f), 2);
        using PlannedNetwork network = prepared.Compile(sampler.InputShapes, pool);
        float[] drawn = sampler.Draw(network, first: 13, [11, 12]);
        await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(_folder.Path);
        IReadOnlyList<GeneratedImage> expected = await pipeline.GenerateAsync(new GenerationRequest { Labels = [3, 4], Steps = 3, GuidanceScale = 1.5f, Seed = 11 });
        Support.Close.Absolute(drawn, expected.SelectMany(image => image.Sample).ToArray(), 1e-6, "pictures");
    }

    [Test]
    public void ValuesThatAreNotFiniteNameTheLayer()
    {
        using WorkerPool pool = new(1);
        string weights = Path.Combine(_folder.Path, "unet", "diffusion_pytorch_model.safetensors");
        _model.Dispose();
        byte[] bytes = File.ReadAllBytes(weights);
        // The last bytes belong to some weight: a NaN there reaches every later layer.
        BitConverter.GetBytes(float.NaN).CopyTo(bytes, bytes.Length - 4);
        File.WriteAllBytes(weights, bytes);
        _model = SourceModel.Open(_folder.Path);
        Assert.That(() => Reference(s_options), Throws.TypeOf<ModelFormatException>().With.Message.Contains("not finite"));
    }

    private static IEnumerable<TestCaseData> BadOptions()
    {
        yield return new TestCaseData(s_options with { Images = 0 }, "images").SetArgDisplayNames("no images");
        yield return new TestCaseData(s_options with { Batch = 0 }, "batch").SetArgDisplayNames("no batch");
        yield return new TestCaseData(s_options with { Sampling = new SamplingSettings(0) }, "steps").SetArgDisplayNames("0 steps");
        yield return new TestCaseData(s_options with { Sampling = new SamplingSettings(1001) }, "steps").SetArgDisplayNames("1001 steps");
        yield return new TestCaseData(s_options with { Sampling = new SamplingSettings(2, float.NaN) }, "guidance").SetArgDisplayNames("guidance is not a number");
    }

    [TestCaseSource(nameof(BadOptions))]
    public void OptionsTheModelCannotDoAreRefused(CalibrationOptions options, string parameter) =>
        Assert.That(() => Reference(options), Throws.TypeOf<InvalidRequestException>().With.Property("Parameter").EqualTo(parameter));

    [Test]
    public void CancellationStopsTheRun()
    {
        using CancellationTokenSource stop = new();
        Watcher<double> progress = new(fraction => stop.Cancel());
        Assert.That(() => Calibrator.Run(Source(s_options), ObservedReferenceNetwork.Factory(_model.Network, _model.Weights), "", _ => true, s_options, progress: progress, cancellationToken: stop.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(progress.Reports[^1], Is.LessThan(1), "stopped before the end");
    }

    private ActivationStatistics Reference(CalibrationOptions options) => Calibrator.Run(Source(options), ObservedReferenceNetwork.Factory(_model.Network, _model.Weights), "", _ => true, options);

    private CalibrationSourceFactory Source(CalibrationOptions options) =>
        items => new TrajectorySource(_model.Network, new GuidedSampler(_model, options.Sampling, items), number => options.Seed + (ulong)number, latents: false);
}

using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Reconstruction;
using LowBitDiffusion.Quantizer.Tests.Autograd;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Reconstruction;

/// <summary>Tiny networks are learned for real.</summary>
internal sealed class BlockReconstructionTests
{
    private const int Batch = 4, Samples = 18;

    private static readonly ReconstructionOptions Rounding = new()
    {
        Iterations = 60,
        RoundingRate = 2e-2,
        RegulariserWeight = 1e-4,
        QuantizationKeep = 0.5,
        QuantizedInputShare = 0.8,
        Seed = 3,
        ReportEvery = 7,
        SaveEvery = 10,
    };

    private static readonly ReconstructionOptions Steps = new()
    {
        Iterations = 60,
        WeightRate = 5e-3,
        WeightStepRate = 1e-2,
        InputStepRate = 1e-2,
        InputZeroPointRate = 1e-2,
        RelativeStepRates = true,
        ReportEvery = 10,
    };

    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("lowbit-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    private string StateFile => Path.Combine(_folder, "state.safetensors");

    [Test]
    public void Learned_rounding_brings_units_closer_and_ends_in_integers()
    {
        using Setting setting = new(Networks.TinyUNet(), learnedWeights: false);
        IReadOnlyList<UnitResult> results = setting.Reconstruction(Rounding).Run();

        Assert.That(results, Has.Count.EqualTo(setting.Units.Count), "every unit is learned");
        Assert.That(results.Average(unit => unit.SqnrAfter - unit.SqnrBefore), Is.GreaterThan(1), $"decibels gained\n{string.Join('\n', results.Select(unit => $"{unit.Unit} {unit.SqnrBefore:F2} {unit.SqnrAfter:F2}"))}");
        Assert.That(results.Count(unit => unit.SqnrAfter > unit.SqnrBefore), Is.GreaterThan(0.8 * results.Count), "nearly every unit gains");
        setting.AssertRunsInIntegers();
    }

    [Test]
    public void Learned_steps_and_weights_lower_the_loss()
    {
        using Setting setting = new(Networks.TinyDiT(), learnedWeights: true);
        IReadOnlyList<UnitResult> results = setting.Reconstruction(Steps).Run();
        Assert.That(results.Average(unit => unit.SqnrAfter - unit.SqnrBefore), Is.GreaterThan(1), $"decibels gained\n{string.Join('\n', results.Select(unit => $"{unit.Unit} {unit.SqnrBefore:F2} {unit.SqnrAfter:F2}"))}");
        foreach (UnitResult unit in results) Assert.That(unit.Losses[^1], Is.LessThan(unit.Losses[0]), $"loss of {unit.Unit}");
        setting.AssertRunsInIntegers();
    }

    [TestCase(0, 7)]
    [TestCase(2, 14)]
    [TestCase(4, 56)]
    public void A_resumed_run_ends_in_the_same_bits(int stopUnit, int stopIteration)
    {
        using Setting whole = new(Networks.TinyDiT(), learnedWeights: false), stopped = new(Networks.TinyDiT(), learnedWeights: false), resumed = new(Networks.TinyDiT(), learnedWeights: false, threads: 3);
        IReadOnlyList<UnitResult> expected = whole.Reconstruction(Rounding).Run();

        using CancellationTokenSource cancellation = new();
        Watcher<ReconstructionProgress> progress = new(report =>
        {
            if ((report.UnitIndex, report.Iteration) == (stopUnit, stopIteration)) cancellation.Cancel();
        });
        Assert.That(() => stopped.Reconstruction(Rounding).Run(StateFile, progress, cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(progress.Reports[^1].Iteration, Is.EqualTo(stopIteration), "the run stopped at once");
        Watcher<ReconstructionProgress> rest = new();
        IReadOnlyList<UnitResult> found = resumed.Reconstruction(Rounding with { SaveEvery = 1000 }).Run(StateFile, rest);

        Assert.That(rest.Reports[0].UnitIndex, Is.EqualTo(stopUnit), "finished units are not learned again");
        foreach ((string name, float[] values) in whole.Learned()) Assert.That(resumed.Learned()[name], Is.EqualTo(values), name);
        Assert.That(found.Select(unit => (unit.SqnrBefore, unit.SqnrAfter)), Is.EqualTo(expected.Select(unit => (unit.SqnrBefore, unit.SqnrAfter))), "quality of the units");
        for (int unit = 0; unit < found.Count; unit++) Assert.That(found[unit].Losses, Is.EqualTo(expected[unit].Losses), $"loss curve of {found[unit].Unit}");
    }

    [Test]
    public void A_state_of_another_run_is_refused()
    {
        using Setting one = new(Networks.TinyDiT(), learnedWeights: false), other = new(Networks.TinyDiT(), learnedWeights: false);
        one.Reconstruction(Rounding with { Iterations = 2 }).Run(StateFile);
        Assert.That(() => other.Reconstruction(Rounding with { Iterations = 2, Seed = 4 }).Run(StateFile), Throws.TypeOf<ModelFormatException>().With.Message.Contains("another run"));
    }

    [Test]
    public void A_loss_that_is_not_finite_stops_with_its_place_and_keeps_the_last_good_state()
    {
        ReconstructionOptions options = Rounding with { SaveEvery = 1, QuantizedInputShare = 1, Seed = 5 };
        TrainingDivergedException Diverge()
        {
            using Setting setting = new(Networks.TinyDiT(), learnedWeights: false);
            setting.Inputs["sample"][5 * setting.Inputs["sample"].Length / Samples] = float.NaN;
            return Assert.Throws<TrainingDivergedException>(() => setting.Reconstruction(options).Run(StateFile))!;
        }

        TrainingDivergedException first = Diverge();
        Assert.That(first.Unit, Is.EqualTo("pos_embed.proj"), "the first unit that sees the sample");
        Assert.That(first.Iteration, Is.GreaterThan(0), "the bad sample is not in the first mini-batch");
        Assert.That(first.Message, Does.Contain("pos_embed.proj").And.Contain($"iteration {first.Iteration}"));
        TrainingDivergedException again = Diverge();
        Assert.That((again.Unit, again.Iteration), Is.EqualTo((first.Unit, first.Iteration)), "the saved state goes on to the same place");
    }

    [Test]
    public void Progress_counts_down()
    {
        Watcher<ReconstructionProgress> progress = new();
        using Setting setting = new(Networks.TinyDiT(), learnedWeights: false);
        setting.Reconstruction(Rounding with { Iterations = 10, ReportEvery = 5 }).Run(progress: progress);
        Assert.That(progress.Reports.Select(report => (report.UnitIndex, report.Iteration)), Is.EqualTo(Enumerable.Range(0, setting.Units.Count).SelectMany(unit => new[] { (unit, 5), (unit, 10) })));
        Assert.That(progress.Reports[0].TimeLeft, Is.GreaterThan(TimeSpan.Zero), "time left at first");
        Assert.That(progress.Reports[^1].TimeLeft, Is.EqualTo(TimeSpan.Zero), "time left at the end");
        Assert.That(progress.Reports, Has.All.Matches<ReconstructionProgress>(report => double.IsFinite(report!.Loss) && report.Units == setting.Units.Count));
    }

    /// <summary>A tiny network with every layer in W3A6, and calibration samples of mixed timesteps.</summary>
    private sealed class Setting : IDisposable
    {
        private readonly Graph _graph;
        private readonly ModelWeights _weights;
        private readonly TrainingModel _quantized;
        private readonly WorkerPool _pool;

        public Setting(INetwork network, bool learnedWeights, int threads = 2)
        {
            _pool = new WorkerPool(threads);
            _graph = network.Build(network.NativeInputs(Batch));
            _weights = Networks.RandomWeights(_graph, 1);
            _quantized = new TrainingModel(_weights);
            Units = NetworkPartition.Of(_graph);
            Inputs = Networks.RandomInputs(network.Build(network.NativeInputs(Samples)), 2);
            WeightQuantizerOptions options = WeightQuantizerOptions.ForBits(3);
            foreach (MatrixOp op in _graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module))
            {
                float[] weight = _weights.Float(op.Parameters.First());
                QuantizedWeight nearest = WeightQuantizer.Quantize(weight, op.WeightShape, options);
                FakeQuantizedWeight fake = learnedWeights
                    ? new LearnedWeight(op.Module, weight, op.WeightShape, nearest, options)
                    : new RoundedWeight(op.Module, weight, op.WeightShape, nearest, options);
                TimestepTable table = new(Networks.Timesteps, [0.12f, 0.13f, 0.14f, 0.15f], [32, 31, 30, 29], 1, 6);
                _quantized.Layers.Add(op.Module, new FakeQuantizedLayer(fake, new FakeQuantizedInput(op.Module, table)));
            }
        }

        public IReadOnlyList<ReconstructionUnit> Units { get; }

        public Dictionary<string, float[]> Inputs { get; }

        public BlockReconstruction Reconstruction(ReconstructionOptions options) =>
            new(_graph, _weights, _quantized, Units, new InMemoryCalibrationSamples(Inputs, Inputs["timestep"].Length), options, _pool);

        public void Dispose() => _pool.Dispose();

        public Dictionary<string, float[]> Learned() => _quantized.Layers.Values.SelectMany(layer => layer.Variables).ToDictionary(variable => variable.Name, variable => variable.Value);

        public void AssertRunsInIntegers()
        {
            Dictionary<string, float[]> inputs = Networks.RandomInputs(_graph, 6, timestep: 250);
            ModelWeights exported = _weights.With(_quantized.Export(_graph));
            Agreement.OfLayers(_graph, exported, _quantized, inputs, _pool);
            Agreement.OfNetwork(_graph, exported, _quantized, inputs, _pool);
        }
    }
}

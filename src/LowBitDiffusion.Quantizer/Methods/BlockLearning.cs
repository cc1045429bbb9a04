using System.Diagnostics;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Reconstruction;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>
/// Carries out a <see cref="BlockPreset"/>: rounds to nearest, draws a calibration set, learns stage after stage. All stages make the same share of their iterations, which the budget decides, and what
/// is learned is given the higher rates with which it gets as far.
/// </summary>
internal sealed class BlockLearning
{
    // Gathering inputs and targets of all units may take this share of the budget.
    private const double GatheringShare = 0.2;
    // The highest rates at which small networks were seen to learn: α; weights and steps of inputs in steps of theirs; zero points in codes.
    private const double HighestRoundingRate = 2e-2, HighestWeightRate = 2e-2, HighestInputStepRate = 5e-3, HighestInputZeroPointRate = 5e-2;

    private readonly QuantizationRun _run;
    private readonly BlockPreset _preset;
    private readonly Graph _graph;
    private readonly IReadOnlyList<ReconstructionUnit> _units;
    private readonly List<LearnedPart> _parts = [];
    private readonly int _batch;
    private readonly int? _worthwhile;

    public BlockLearning(QuantizationRun run, BlockPreset preset)
    {
        (_run, _preset) = (run, preset);
        // As the calibration set has it: of the size that is drawn, with as many tokens as the prompts take.
        ICalibrationSource source = run.Source(1);
        _worthwhile = source.Worthwhile;
        _graph = GraphFor(preset.Batch);
        _units = NetworkPartition.Of(_graph, preset.SeparateTemporal);
        // Large pictures: as many at once as fit into what inputs and targets may take.
        ReconstructionOptions[] options = [.. preset.Stages.Select(stage => stage.Options)];
        long most = options.Length == 0 ? preset.Batch : options.Min(stage => stage.MemoryLimit / (sizeof(float) * UnitFeed.ElementsPerSample(_graph, _units, stage.QuantizedInputShare < 1)));
        _batch = (int)Math.Clamp(most, 1, preset.Batch);
        if (_batch == preset.Batch) return;
        _graph = GraphFor(_batch);
        _units = NetworkPartition.Of(_graph, preset.SeparateTemporal);

        Graph GraphFor(int batch) => run.Model.GraphFor(source.InputShapes.ToDictionary(input => input.Key, input => input.Value.With(0, batch)));
    }

    public MethodResult Run()
    {
        IReadOnlyDictionary<string, QuantizedModule> modules = PostTrainingQuantizer.Quantize(_run);
        if (_preset.Stages.Count == 0) return new MethodResult(modules);
        int samples = Samples(modules), iterations = 0;
        ICalibrationSamples set = CalibrationSet.Of(_run, samples, _preset.Choice);
        for (int stage = 0; stage < _preset.Stages.Count; stage++)
        {
            if (stage == 0) iterations = Iterations(modules, set);
            modules = Learn(modules, set, Scaled(_preset.Stages[stage], iterations), stage);
        }

        return new MethodResult(modules, Report(samples, iterations));
    }

    /// <summary>One pass over all units.</summary>
    private IReadOnlyDictionary<string, QuantizedModule> Learn(IReadOnlyDictionary<string, QuantizedModule> modules, ICalibrationSamples samples, BlockStage stage, int index)
    {
        TrainingModel model = Simulate(modules, stage);
        Progress progress = new(_run, index, _preset.Stages.Count);
        IReadOnlyList<UnitResult> results = Reconstruction(model, samples, stage.Options).Run(_run.Saved.PathOf($"{stage.Name}.safetensors"), progress, _run.CancellationToken);
        _parts.AddRange(results.Select(unit => new LearnedPart(unit.Unit, $"{stage.Name}: {unit.Kind}", Finite(unit.SqnrBefore), Finite(unit.SqnrAfter), stage.Options.Iterations, unit.Losses)));
        if (stage.QuantizedInputs) return model.Export(_graph);

        // The weights are learned: what activations are like now is seen where they are used.
        IReadOnlyDictionary<string, TimestepTable> tables = PostTrainingQuantizer.Tables(_run, _run.NetworksWith(LearnedWeights(model)));
        TrainingModel calibrated = new(_run.Model.Weights);
        foreach ((string name, FakeQuantizedLayer layer) in model.Layers)
            calibrated.Layers.Add(name, new FakeQuantizedLayer(layer.Weight, new FakeQuantizedInput(name, tables[name], modules[name].SplitChannel, modules[name].InputChannelScales)));
        return calibrated.Export(_graph);
    }

    /// <summary>The network with its quantization simulated as a stage needs it.</summary>
    private TrainingModel Simulate(IReadOnlyDictionary<string, QuantizedModule> modules, BlockStage stage)
    {
        TrainingModel model = new(_run.Model.Weights);
        Dictionary<string, FakeQuantizedInput> shared = Shared(modules);
        foreach (MatrixOp op in _run.Layers.Select(layer => layer.Op))
        {
            if (!modules.TryGetValue(op.Module, out QuantizedModule? module)) continue;
            FakeQuantizedWeight weight = stage.Options switch
            {
                { RoundingRate: > 0 } => FakeQuantizedLayer.Rounded(module, _run.Weight(op)).Weight,
                { WeightRate: > 0 } => FakeQuantizedLayer.Learned(module, _run.Weight(op)).Weight,
                _ => FakeQuantizedLayer.Frozen(module).Weight,
            };
            model.Layers.Add(op.Module, new FakeQuantizedLayer(weight, stage.QuantizedInputs ? shared[op.Module] : null));
        }

        return model;
    }

    /// <summary>Input quantizers, one for all layers of a unit that read one value, so that the runtime goes on quantizing it once.</summary>
    private Dictionary<string, FakeQuantizedInput> Shared(IReadOnlyDictionary<string, QuantizedModule> modules)
    {
        Dictionary<string, FakeQuantizedInput> inputs = [];
        foreach (IReadOnlyList<ModuleInputs> readers in ModuleInputs.ByValue(_run.Layers.Where(layer => modules.ContainsKey(layer.Op.Module))))
        {
            foreach (IGrouping<(string, int), QuantizedModule> same in readers.Select(layer => modules[layer.Op.Module]).GroupBy(module => (UnitOf(module.Name), module.Input.Bits)))
            {
                QuantizedModule first = same.First();
                FakeQuantizedInput input = new(first.Name, first.Input, first.Input.Segments == 2 ? first.SplitChannel : 0, first.InputChannelScales);
                foreach (QuantizedModule module in same) inputs.Add(module.Name, input);
            }
        }

        return inputs;

        string UnitOf(string module) => _units.First(unit => unit.Modules.Contains(module)).Name;
    }

    /// <summary>The float network with the values that learned weights stand for.</summary>
    private ModelWeights LearnedWeights(TrainingModel model)
    {
        InMemoryTensors tensors = new(_run.Model.Weights.Origin);
        Dictionary<string, FakeQuantizedWeight> weights = model.Layers.ToDictionary(layer => $"{layer.Key}.weight", layer => layer.Value.Weight);
        foreach (Parameter parameter in _graph.Parameters)
        {
            float[] values = weights.TryGetValue(parameter.Name, out FakeQuantizedWeight? weight) ? weight.Values(_run.Pool) : _run.Model.Weights.Float(parameter);
            tensors.Add(parameter.Name, [.. parameter.Shape.Select(extent => (long)extent)], values);
        }

        return new ModelWeights(tensors);
    }

    private BlockReconstruction Reconstruction(TrainingModel model, ICalibrationSamples samples, ReconstructionOptions options) =>
        new(_graph, _run.Model.Weights, model, _units, samples, options, _run.Pool);

    /// <summary>Size of the calibration set: the paper's, or as many as can be gathered in a share of the budget.</summary>
    private int Samples(IReadOnlyDictionary<string, QuantizedModule> modules)
    {
        int paper = Math.Max(_worthwhile is { } worthwhile ? Math.Min(worthwhile, _preset.Samples) : _preset.Samples, _batch);
        if (_run.Request.Samples is { } asked) return Math.Max(asked, _batch);
        if (_run.Request.Budget is not { } budget) return paper;
        return (int)_run.Saved.Decide("samples", () =>
        {
            (_, double sample) = Cost(modules, new Standstill(_graph, _run.Calibration.Seed));
            return Math.Floor(Math.Clamp(GatheringShare * budget.TotalSeconds / (sample * _preset.Stages.Count), Math.Min(4 * _batch, paper), paper));
        });
    }

    /// <summary>Iterations of the first stage.</summary>
    private int Iterations(IReadOnlyDictionary<string, QuantizedModule> modules, ICalibrationSamples samples) => _run.Iterations(_preset.Stages[0].Options.Iterations, () =>
    {
        (double iteration, double sample) = Cost(modules, samples);
        double stages = _preset.Stages.Sum(stage => (double)stage.Options.Iterations) / _preset.Stages[0].Options.Iterations;
        return (iteration * stages, sample * samples.Count * _preset.Stages.Count);
    });

    private (double Iteration, double Sample) Cost(IReadOnlyDictionary<string, QuantizedModule> modules, ICalibrationSamples samples) =>
        Reconstruction(Simulate(modules, _preset.Stages[0]), samples, _preset.Stages[0].Options).MeasureCost(_run.CancellationToken);

    private BlockStage Scaled(BlockStage stage, int iterations)
    {
        ReconstructionOptions paper = stage.Options;
        int scaled = (int)Math.Max(1, (long)iterations * paper.Iterations / _preset.Stages[0].Options.Iterations);
        return stage with
        {
            Options = paper with
            {
                Seed = _run.Request.Seed,
                Iterations = scaled,
                RoundingRate = Rate(paper.RoundingRate, HighestRoundingRate),
                WeightRate = Rate(paper.WeightRate, HighestWeightRate),
                InputStepRate = Rate(paper.InputStepRate, HighestInputStepRate),
                InputZeroPointRate = Rate(paper.InputZeroPointRate, HighestInputZeroPointRate),
            },
        };

        // Adam moves by the rate in every iteration, whatever the gradient: fewer iterations get as far with a higher one.
        double Rate(double paperRate, double highest) => Math.Max(paperRate, Math.Min(paperRate * paper.Iterations / scaled, paperRate > 0 ? highest : 0));
    }

    private TrainingReport Report(int samples, int iterations)
    {
        Dictionary<string, double> settings = new() { ["samples"] = samples, ["batch"] = _batch };
        foreach (BlockStage stage in _preset.Stages)
        {
            ReconstructionOptions options = Scaled(stage, iterations).Options;
            settings.Add($"{stage.Name}_iterations", options.Iterations);
            settings.Add($"{stage.Name}_paper_iterations", stage.Options.Iterations);
            foreach ((string name, double value) in options.Rates) settings.Add($"{stage.Name}_{name}", value);
        }

        using Process process = Process.GetCurrentProcess();
        return new TrainingReport
        {
            Method = _run.Method.Name,
            Without = _run.Request.Without,
            Settings = settings,
            Parts = _parts,
            Seconds = _run.Saved.Seconds,
            PeakBytes = process.PeakWorkingSet64,
        };
    }

    private static double? Finite(double decibels) => double.IsFinite(decibels) ? decibels : null;

    /// <summary>Says in words where learning is.</summary>
    private sealed class Progress(QuantizationRun run, int stage, int stages) : IProgress<ReconstructionProgress>
    {
        public void Report(ReconstructionProgress value)
        {
            double unit = value.UnitIndex + (double)value.Iteration / value.Iterations;
            run.Report("learning", (stage + unit / value.Units) / stages, FormattableString.Invariant(
                $"{value.Unit} ({value.UnitIndex + 1} of {value.Units}), iteration {value.Iteration} of {value.Iterations}, loss {value.Loss:g3}, {Minutes(value.TimeLeft)} left"));
        }

        private static string Minutes(TimeSpan time) => time.TotalMinutes < 2 ? FormattableString.Invariant($"{time.TotalSeconds:0} s") : FormattableString.Invariant($"{time.TotalMinutes:0} min");
    }

    /// <summary>Inputs to measure time with, when there is no calibration set yet.</summary>
    private sealed class Standstill(Graph graph, ulong seed) : ICalibrationSamples
    {
        public int Count => SampleRows.BatchOf(graph);

        public IReadOnlyDictionary<string, float[]> Batch(ReadOnlySpan<int> samples) =>
            graph.Inputs.ToDictionary(input => input.Key, input => Enumerable.Range(0, (int)input.Value.Shape.Elements).Select(i => Value(input.Key, i)).ToArray());

        // A mask that hides nothing; label, token and timestep 0 are there in every model.
        private float Value(string input, int index) => input switch
        {
            "sample" or "image" or "latent" => (float)(Mix.Hash(seed + (ulong)index) % 1000) / 500 - 1,
            "encoder_attention_mask" => 1,
            _ => 0,
        };
    }
}

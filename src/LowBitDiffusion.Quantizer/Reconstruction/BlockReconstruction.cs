using System.Diagnostics;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>
/// Learns a network's quantization unit by unit (BRECQ; with <see cref="ReconstructionOptions.QuantizationKeep"/> below 1, QDrop): each unit reads what the quantized network before it computes and is
/// brought to what the float network computes.
/// <code>
///   L = Σ over outputs of mean over images and positions of Σ over channels (y − target)²  +  λ·R(α, β)
/// </code>
/// Every random choice is a function of seed, unit and iteration; results do not depend on threads, and a run that was stopped and resumed ends in the same bits as one that was not.
/// </summary>
public sealed class BlockReconstruction
{
    private const int MeasuredBatches = 4, MeasuredIterations = 2;

    private readonly Graph _graph;
    private readonly GradientExecutor _quantized;
    private readonly GradientExecutor _plain;
    private readonly IReadOnlyList<ReconstructionUnit> _units;
    private readonly IReadOnlyList<UnitVariables> _variables;
    private readonly ICalibrationSamples _samples;
    private readonly ReconstructionOptions _options;
    private readonly ReconstructionState _state;
    private readonly WorkerPool _pool;
    private readonly Stopwatch _clock = new();
    private double _costDone;

    /// <summary>Prepares a reconstruction.</summary>
    /// <param name="graph">The network, built for the size of a mini-batch.</param>
    /// <param name="weights">The float model.</param>
    /// <param name="quantized">The same with quantized layers at their initial values; they are changed in place.</param>
    /// <param name="units">What is learned together, in order (<see cref="NetworkPartition"/>).</param>
    /// <param name="samples">Calibration samples, at least as many as a mini-batch has.</param>
    /// <param name="options">Rates, iterations, seed.</param>
    /// <param name="pool">Threads.</param>
    /// <exception cref="InvalidRequestException">There are fewer samples than a mini-batch has.</exception>
    public BlockReconstruction(
        Graph graph, ModelWeights weights, TrainingModel quantized, IReadOnlyList<ReconstructionUnit> units, ICalibrationSamples samples, ReconstructionOptions options, WorkerPool pool)
    {
        int batch = SampleRows.BatchOf(graph);
        if (samples.Count < batch) throw new InvalidRequestException("samples", $"a mini-batch has {batch}, found {samples.Count}");
        (_graph, _units, _samples, _options, _pool) = (graph, units, samples, options, pool);
        _quantized = new GradientExecutor(quantized, pool);
        _plain = new GradientExecutor(new TrainingModel(weights), pool);
        _variables = [.. units.Select(unit => new UnitVariables(quantized, unit, options))];
        // How often the state is saved does not change what is computed.
        _state = new ReconstructionState(_variables, $"{options with { SaveEvery = 0 }}; batch {batch} of {samples.Count} samples; {string.Join(", ", units.Select(unit => unit.Name))}");
    }

    /// <summary>Learns all units. Afterwards rounding is decided and nothing is trainable.</summary>
    /// <param name="stateFile">Where the state is saved, now and then and when the run is cancelled; if the file exists, the run goes on from there. Null for no saving.</param>
    /// <param name="progress">Told every <see cref="ReconstructionOptions.ReportEvery"/> iterations.</param>
    /// <param name="cancellationToken">Checked between nodes.</param>
    /// <returns>Each unit that has something to learn.</returns>
    /// <exception cref="TrainingDivergedException">A loss or a learned number is not finite.</exception>
    /// <exception cref="ModelFormatException">The state file is damaged or belongs to another run.</exception>
    /// <exception cref="OutputException">The state cannot be written.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled; the state is saved.</exception>
    public IReadOnlyList<UnitResult> Run(string? stateFile = null, IProgress<ReconstructionProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        if (File.Exists(stateFile)) _state.Load(stateFile);
        foreach (UnitVariables unit in _variables) unit.SetLearning(false);
        _costDone = 0;
        _clock.Restart();
        try
        {
            UnitFeed feed = Feed(SampleCount);
            for (; _state.Unit < _units.Count; (_state.Unit, _state.Iteration) = (_state.Unit + 1, 0))
            {
                if (_variables[_state.Unit].Learned.Count > 0) Learn(feed, stateFile, progress, cancellationToken);
            }
        }
        catch (OperationCanceledException)
        {
            // Updates are not interrupted, so the variables are those of the last whole iteration.
            if (stateFile is not null) _state.Save(stateFile);
            throw;
        }

        if (stateFile is not null) _state.Save(stateFile);
        return
        [
            .. Enumerable.Range(0, _units.Count)
                .Where(unit => _variables[unit].Learned.Count > 0)
                .Select(unit => new UnitResult(_units[unit].Name, _units[unit].Kind, _state.Sqnr[2 * unit], _state.Sqnr[2 * unit + 1], _state.Losses[unit])),
        ];
    }

    /// <summary>Measures what learning will cost, on one mini-batch; changes nothing.</summary>
    /// <param name="cancellationToken">Checked between nodes.</param>
    /// <returns>Seconds of one iteration of every unit, and of gathering the inputs and targets of every unit for one sample.</returns>
    public (double Iteration, double Sample) MeasureCost(CancellationToken cancellationToken = default)
    {
        double iteration = 0, sample = 0;
        int batch = SampleRows.BatchOf(_graph);
        foreach (UnitVariables variables in _variables) variables.SetLearning(false);
        UnitFeed feed = Feed(batch);
        for (_state.Unit = 0; _state.Unit < _units.Count; _state.Unit++)
        {
            (ReconstructionUnit unit, UnitVariables variables) = (_units[_state.Unit], _variables[_state.Unit]);
            if (variables.Learned.Count == 0) continue;
            float[][] values = [.. variables.Learned.Select(learned => (float[])learned.Variable.Value.Clone())];
            Stopwatch clock = Stopwatch.StartNew();
            feed.Open(_state.Unit, cancellationToken);
            sample += clock.Elapsed.TotalSeconds / batch;
            variables.SetLearning(true);
            // The last iteration has all terms of the loss. The first time compiles code and allocates memory.
            _state.Iteration = _options.Iterations - 1;
            Iterate(unit, variables, feed, cancellationToken);
            clock.Restart();
            for (int i = 0; i < MeasuredIterations; i++) Iterate(unit, variables, feed, cancellationToken);
            iteration += clock.Elapsed.TotalSeconds / MeasuredIterations;
            for (int i = 0; i < values.Length; i++) values[i].CopyTo(variables.Learned[i].Variable.Value, 0);
            variables.SetLearning(false);
            variables.Rest();
        }

        (_state.Unit, _state.Iteration) = (0, 0);
        return (iteration, sample);
    }

    /// <summary>Samples that are learned from: as many as fit in memory.</summary>
    private int SampleCount => (int)Math.Clamp(
        _options.MemoryLimit / (sizeof(float) * UnitFeed.ElementsPerSample(_graph, _units, KeepsFloatInputs)), SampleRows.BatchOf(_graph), _samples.Count);

    private bool KeepsFloatInputs => _options.QuantizedInputShare < 1;

    private UnitFeed Feed(int count) => new(_graph, _units, _quantized, _plain, _samples, count, KeepsFloatInputs);

    private void Learn(UnitFeed feed, string? stateFile, IProgress<ReconstructionProgress>? progress, CancellationToken cancellationToken)
    {
        ReconstructionUnit unit = _units[_state.Unit];
        UnitVariables variables = _variables[_state.Unit];
        feed.Open(_state.Unit, cancellationToken);
        if (_state.Iteration == 0) _state.Sqnr[2 * _state.Unit] = Measure(unit, feed, cancellationToken);
        variables.SetLearning(true);
        while (_state.Iteration < _options.Iterations)
        {
            double loss = Iterate(unit, variables, feed, cancellationToken);
            _state.Iteration++;
            _state.LossSum += loss;
            _costDone += Cost(_state.Unit);
            bool last = _state.Iteration == _options.Iterations;
            if (_state.Iteration % _options.ReportEvery == 0 || last)
            {
                int since = (_state.Iteration - 1) % _options.ReportEvery + 1;
                _state.Losses[_state.Unit].Add((float)(_state.LossSum / since));
                _state.LossSum = 0;
                progress?.Report(new ReconstructionProgress(unit.Name, _state.Unit, _units.Count, _state.Iteration, _options.Iterations, loss, TimeLeft()));
            }

            if (_state.Iteration % _options.SaveEvery == 0 && stateFile is not null)
            {
                RequireFinite(unit, variables);
                _state.Save(stateFile);
            }
        }

        RequireFinite(unit, variables);
        variables.SetLearning(false);
        variables.Rest();
        _state.Sqnr[2 * _state.Unit + 1] = Measure(unit, feed, cancellationToken);
    }

    /// <summary>One update; returns the reconstruction loss.</summary>
    private double Iterate(ReconstructionUnit unit, UnitVariables variables, UnitFeed feed, CancellationToken cancellationToken)
    {
        using PassMemory.Scope scope = feed.Memory.Open();
        ulong seed = Mix.Hash(_options.Seed ^ Mix.Hash(((ulong)_state.Unit << 32) + (ulong)_state.Iteration));
        UnitBatch batch = feed.Batch(Draw(seed, feed.Count), _options.QuantizedInputShare, seed);
        RunSettings settings = new() { Timesteps = batch.Timesteps, Drop = _options.QuantizationKeep < 1 ? new QuantizationDrop(_options.QuantizationKeep, seed) : null };
        foreach (LearnedVariable learned in variables.Learned) learned.Variable.ClearGradient();

        Tape tape = _quantized.Run(batch.Inputs, unit.Outputs.ToArray(), settings, cancellationToken);
        Dictionary<Node, float[]> upstream = [];
        double loss = 0;
        foreach (Node output in unit.Outputs)
        {
            (double part, float[] gradient) = AdaRound.Reconstruction(tape[output], batch.Targets[output], output.Shape.Channels, _pool);
            loss += part;
            upstream.Add(output, gradient);
        }

        if (!double.IsFinite(loss)) throw new TrainingDivergedException(unit.Name, _state.Iteration, $"the loss is {loss}");
        tape.Backward(upstream, cancellationToken: cancellationToken);
        if (Schedules.AdaRoundBeta(_state.Iteration, _options.Iterations, _options.FirstExponent, _options.LastExponent, _options.Warmup) is { } beta)
        {
            foreach (RoundedWeight weight in variables.Rounded.Where(weight => weight.Alpha.Trainable))
                AdaRound.AddRegulariserGradient(weight.Alpha.Value, beta, _options.RegulariserWeight, weight.Alpha.Gradient, _pool);
        }

        foreach (LearnedVariable learned in variables.Learned) learned.Step(_state.Iteration, _options.Iterations);
        return loss;
    }

    /// <summary>Different samples for a mini-batch.</summary>
    private int[] Draw(ulong seed, int samples)
    {
        HashSet<int> drawn = [];
        int[] batch = new int[SampleRows.BatchOf(_graph)];
        for (ulong i = 0; drawn.Count < batch.Length; i++)
        {
            int sample = (int)(Mix.Hash(seed + i) % (ulong)samples);
            if (drawn.Add(sample)) batch[drawn.Count - 1] = sample;
        }

        return batch;
    }

    /// <summary>Signal to quantization noise of a unit's outputs in decibels.</summary>
    private float Measure(ReconstructionUnit unit, UnitFeed feed, CancellationToken cancellationToken)
    {
        int size = SampleRows.BatchOf(_graph);
        double signal = 0, noise = 0;
        for (int first = 0; first + size <= Math.Min(feed.Count, MeasuredBatches * size); first += size)
        {
            using PassMemory.Scope scope = feed.Memory.Open();
            UnitBatch batch = feed.Batch([.. Enumerable.Range(first, size)], 1, 0);
            Tape tape = _quantized.Run(batch.Inputs, unit.Outputs.ToArray(), new RunSettings { Timesteps = batch.Timesteps, Record = false }, cancellationToken);
            foreach (Node output in unit.Outputs)
            {
                float[] y = tape[output], target = batch.Targets[output];
                for (int i = 0; i < y.Length; i++)
                {
                    double error = (double)y[i] - target[i];
                    (signal, noise) = (signal + (double)target[i] * target[i], noise + error * error);
                }
            }
        }

        return (float)(10 * Math.Log10(signal / noise));
    }

    private static void RequireFinite(ReconstructionUnit unit, UnitVariables variables)
    {
        foreach (LearnedVariable learned in variables.Learned)
        {
            if (learned.Diverged) throw new TrainingDivergedException(unit.Name, learned.Optimizer.Steps, $"'{learned.Variable.Name}' is not finite");
        }
    }

    /// <summary>Work of an iteration in multiply-accumulates of the layers; simulating, learning and regularising a weight's rounding counts as some hundreds of them.</summary>
    private double Cost(int unit) => _units[unit].Macs + 500.0 * _variables[unit].Learned.Sum(learned => (double)learned.Variable.Value.Length);

    private TimeSpan TimeLeft()
    {
        double left = Cost(_state.Unit) * (_options.Iterations - _state.Iteration);
        for (int unit = _state.Unit + 1; unit < _units.Count; unit++)
        {
            if (_variables[unit].Learned.Count > 0) left += Cost(unit) * _options.Iterations;
        }

        return _clock.Elapsed * (left / Math.Max(_costDone, 1));
    }
}

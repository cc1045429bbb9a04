using System.Diagnostics;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Metrics;
using LowBitDiffusion.Quantizer.Reconstruction;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Distillation;

/// <summary>
/// Learns a whole network's quantization from the float network alone (EfficientDM, equation 7): the float network walks a trajectory from noise, and at every step the quantized one is brought
/// closer to what it predicts there.
/// <code>
///   x_T ──► x_(T−1) ──► … ──► x_0        steps of the sampler on the float network's prediction
///    │        │
///    ▼        ▼
///   update   update                      L = log Σ (e(x, t) − ê(x, t))²     e, ê guided predictions of the float and of the quantized network
/// </code>
/// The paper's loss is the sum itself. It is a hundred times larger at the last timesteps, where noise is hard to tell from picture, than at the first, and Adam divides every gradient by the running size of
/// all: most timesteps would hardly learn. Under the logarithm a decibel counts the same at each.
/// A network without timesteps has trajectories of one call, and its outputs are what it predicts; a decibel counts the same in each. Noise and labels are functions of seed and epoch; results do not depend
/// on threads, and a run that was stopped and resumed ends in the same bits as one that was not.
/// </summary>
public sealed class TrajectoryDistillation
{
    private readonly SourceModel _model;
    private readonly DistillationOptions _options;
    private readonly WorkerPool _pool;
    private readonly ICalibrationSource _source;
    private readonly Graph _graph;
    private readonly GradientExecutor _student;
    private readonly IReadOnlyList<Node> _checkpoints;
    private readonly IReadOnlyList<LearnedVariable> _learned;
    private readonly DistillationState _state;
    private readonly PassMemory _memory;
    private readonly Stopwatch _clock = new();

    /// <summary>Prepares a distillation.</summary>
    /// <param name="run">The float model, and what it is shown.</param>
    /// <param name="student">Its network with quantized layers at their initial values; layers with a <see cref="LearnedWeight"/> learn (adapter, steps, the input's steps and zero points), others stay.</param>
    /// <param name="options">Trajectories, rates, seed.</param>
    /// <exception cref="InvalidRequestException">The options ask for what the model or its sampler cannot do.</exception>
    public TrajectoryDistillation(QuantizationRun run, TrainingModel student, DistillationOptions options)
    {
        if (options.Epochs < 1) throw new InvalidRequestException("epochs", $"expected at least one trajectory, found {options.Epochs}");
        (_model, _options, _pool) = (run.Model, options, run.Pool);
        _source = run.Source(options.Sampling, options.Images, SeedOf);
        _graph = _model.GraphFor(_source.InputShapes);
        _student = new GradientExecutor(student, _pool);
        long bytes = _graph.Nodes.Sum(node => node.Shape.Elements) * sizeof(float);
        _checkpoints = bytes > options.ActivationMemory ? NetworkPartition.Checkpoints(_graph) : [];
        _memory = new PassMemory(options.ActivationMemory);
        _learned = Learned(student, options);
        // How often the state is saved and what is kept in memory do not change what is computed.
        _state = new DistillationState(_learned, $"{options with { SaveEvery = 0, ActivationMemory = 0 }}");
    }

    /// <summary>Updates of a trajectory.</summary>
    public int Calls => _source.Timesteps.Count;

    private int Iterations => checked(_options.Epochs * Calls);

    /// <summary>Learns.</summary>
    /// <param name="stateFile">Where the state is saved, now and then and when the run is cancelled; if the file exists, the run goes on from there. Null for no saving.</param>
    /// <param name="progress">Told after every update.</param>
    /// <param name="cancellationToken">Checked between nodes.</param>
    /// <exception cref="TrainingDivergedException">A loss or a learned number is not finite; the state file holds the last good state.</exception>
    /// <exception cref="ModelFormatException">The state file is damaged or belongs to another run.</exception>
    /// <exception cref="OutputException">The state cannot be written.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled; the state is saved.</exception>
    /// <returns>The steps of the trajectories, in their order.</returns>
    public IReadOnlyList<DistilledStep> Run(string? stateFile = null, IProgress<DistillationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        using PreparedModel prepared = new(_model.Network, _model.Weights);
        using PlannedNetwork teacher = prepared.Compile(_source.InputShapes, _pool, outputs: _model.Network.MainOutputs, cancellationToken: cancellationToken);
        if (File.Exists(stateFile)) _state.Load(stateFile);
        try
        {
            if (_state.SqnrBefore.Length == 0) _state.SqnrBefore = Measure(teacher, cancellationToken);
            SetLearning(true);
            int before = _state.Iteration;
            _clock.Restart();
            while (_state.Iteration < Iterations) Trajectory(teacher, before, stateFile, progress, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Updates are not interrupted, so the variables are those of the last whole one.
            if (stateFile is not null) _state.Save(stateFile);
            throw;
        }
        finally
        {
            SetLearning(false);
        }

        RequireFinite();
        if (stateFile is not null) _state.Save(stateFile);
        float[] after = Measure(teacher, cancellationToken);
        return [.. _source.Timesteps.Select((timestep, call) => new DistilledStep(timestep, _state.SqnrBefore[call], after[call], [.. _state.Losses.Where((_, iteration) => iteration % Calls == call)]))];
    }

    /// <summary>Makes updates for some seconds and tells how long one takes. What is learned thereby is of no use: the student is to be thrown away.</summary>
    /// <param name="seconds">For how long; the compiler needs some to optimise what it runs.</param>
    /// <param name="cancellationToken">Checked between nodes.</param>
    public double SecondsPerUpdate(double seconds, CancellationToken cancellationToken = default)
    {
        using PreparedModel prepared = new(_model.Network, _model.Weights);
        using PlannedNetwork teacher = prepared.Compile(_source.InputShapes, _pool, outputs: _model.Network.MainOutputs, cancellationToken: cancellationToken);
        SetLearning(true);
        List<double> times = [];
        Stopwatch clock = Stopwatch.StartNew();
        double last = 0;
        while (clock.Elapsed.TotalSeconds < seconds)
        {
            Walk(
                teacher,
                0,
                (call, inputs, targets) =>
                {
                    if (clock.Elapsed.TotalSeconds >= seconds && times.Count > 0) return;
                    Update(call, inputs, targets, cancellationToken);
                    times.Add(clock.Elapsed.TotalSeconds - last);
                    last += times[^1];
                },
                cancellationToken);
            last = clock.Elapsed.TotalSeconds;
        }

        SetLearning(false);
        // The median of the later half, when most is compiled.
        return times.Skip(times.Count / 2).Order().ElementAt((times.Count - times.Count / 2) / 2);
    }

    private void Trajectory(PlannedNetwork teacher, int before, string? stateFile, IProgress<DistillationProgress>? progress, CancellationToken cancellationToken)
    {
        int epoch = _state.Iteration / Calls;
        Walk(teacher, First(epoch), Step, cancellationToken);

        void Step(int call, IReadOnlyDictionary<string, float[]> inputs, IReadOnlyDictionary<string, float[]> targets)
        {
            // Behind a saved state: the teacher alone goes on.
            if (epoch * Calls + call < _state.Iteration) return;
            double loss = Update(call, inputs, targets, cancellationToken);
            _state.Losses.Add((float)loss);
            int made = _state.Iteration - before;
            progress?.Report(new DistillationProgress(epoch, _options.Epochs, _state.Iteration, Iterations, _source.Timesteps[call], loss, _clock.Elapsed * ((double)(Iterations - _state.Iteration) / made)));
            if (_state.Iteration % _options.SaveEvery != 0 || _state.Iteration == Iterations || stateFile is null) return;
            RequireFinite();
            _state.Save(stateFile);
        }
    }

    private delegate void TrajectoryStep(int call, IReadOnlyDictionary<string, float[]> inputs, IReadOnlyDictionary<string, float[]> targets);

    /// <summary>Shows the teacher items, and every call's inputs and results to the step.</summary>
    private void Walk(PlannedNetwork teacher, int first, TrajectoryStep step, CancellationToken cancellationToken) => _source.Pass(
        first,
        (call, inputs) =>
        {
            IReadOnlyDictionary<string, float[]> outputs = teacher.Run(inputs, cancellationToken: cancellationToken);
            step(call, inputs, outputs.ToDictionary(output => output.Key, output => _source.Result(output.Key, output.Value)));
            return outputs;
        },
        cancellationToken: cancellationToken);

    /// <summary>The first item of an epoch: those that are worth their time take turns.</summary>
    private int First(int epoch) => _source.Worthwhile is { } items ? epoch * _options.Images % items : epoch * _options.Images;

    /// <summary>Far from the small numbers that people draw pictures with, of which only 32 bits count.</summary>
    private ulong SeedOf(int item) => Mix.Hash(_options.Seed + ((ulong)(uint)(item / _options.Images) << 16) + (ulong)(item % _options.Images)) | 0x8000_0000;

    /// <summary>One update; returns the squared error per element.</summary>
    private double Update(int call, IReadOnlyDictionary<string, float[]> inputs, IReadOnlyDictionary<string, float[]> targets, CancellationToken cancellationToken)
    {
        using PassMemory.Scope scope = _memory.Open();
        foreach (LearnedVariable learned in _learned) learned.Variable.ClearGradient();
        (Tape tape, IReadOnlyDictionary<string, float[]> predictions) = Student(call, inputs, record: true, cancellationToken);
        Dictionary<Node, float[]> upstream = [];
        double loss = 0;
        foreach ((string name, Node output) in _graph.Outputs)
        {
            float[] error = [.. _source.Result(name, predictions[name])], target = targets[name];
            double squares = 0;
            for (int i = 0; i < error.Length; i++)
            {
                error[i] -= target[i];
                squares += (double)error[i] * error[i];
            }

            // d log Σ e² = 2 e/Σ e²; a prediction without error has nothing to learn from.
            float scale = squares > 0 ? (float)(2 / squares) : 0;
            for (int i = 0; i < error.Length; i++) error[i] *= scale;
            loss += squares / error.Length;
            upstream.Add(output, RowLayout.ToRows(_source.ResultBackward(name, error, predictions[name].Length), output.Shape));
        }

        if (!double.IsFinite(loss)) throw new TrainingDivergedException(Place(call), _state.Iteration, $"the loss is {loss}");
        tape.Backward(upstream, cancellationToken: cancellationToken);
        _pool.Chunks(_learned.Count, 1, (i, _) => _learned[i].Step(_state.Iteration, Iterations));
        return loss;
    }

    private (Tape Tape, IReadOnlyDictionary<string, float[]> Predictions) Student(int call, IReadOnlyDictionary<string, float[]> inputs, bool record, CancellationToken cancellationToken)
    {
        float[] timesteps = new float[SampleRows.BatchOf(_graph)];
        Array.Fill(timesteps, _source.Timesteps[call]);
        RunSettings settings = new() { Timesteps = timesteps, Checkpoints = record ? _checkpoints : [], Record = record };
        Tape tape = _student.Run(GradientExecutor.Rows(_graph, inputs), [.. _graph.Outputs.Values], settings, cancellationToken);
        return (tape, _graph.Outputs.ToDictionary(output => output.Key, output => RowLayout.FromRows(tape[output.Value], output.Value.Shape)));
    }

    /// <summary>Signal to quantization noise of what is predicted at each timestep, on items behind those that are learned from.</summary>
    private float[] Measure(PlannedNetwork teacher, CancellationToken cancellationToken)
    {
        float[] sqnr = new float[Calls];
        Walk(
            teacher,
            _source.Worthwhile is { } items ? items + _options.Images : _options.Epochs * _options.Images,
            (call, inputs, targets) =>
            {
                using PassMemory.Scope scope = _memory.Open();
                (_, IReadOnlyDictionary<string, float[]> predictions) = Student(call, inputs, record: false, cancellationToken);
                SignalQuality quality = new();
                foreach ((string name, float[] target) in targets) quality.Add(target, _source.Result(name, predictions[name]));
                sqnr[call] = (float)quality.Sqnr;
            },
            cancellationToken);
        return sqnr;
    }

    private void SetLearning(bool learning)
    {
        foreach (Variable variable in _student.Model.Layers.Values.SelectMany(layer => layer.Variables)) variable.Trainable = false;
        foreach (LearnedVariable learned in _learned) learned.Variable.Trainable = learning;
    }

    private void RequireFinite()
    {
        int call = (_state.Iteration + Calls - 1) % Calls;
        foreach (LearnedVariable learned in _learned.Where(learned => learned.Diverged))
            throw new TrainingDivergedException(Place(call), _state.Iteration, $"'{learned.Variable.Name}' is not finite");
    }

    private string Place(int call) => _model.IsDenoiser ? $"step {call + 1} of {Calls} (timestep {_source.Timesteps[call]})" : _model.Network.ClassName;

    /// <summary>What is learned, with its rates. Layers may share the quantizer of their input.</summary>
    private static List<LearnedVariable> Learned(TrainingModel student, DistillationOptions options)
    {
        (LearnedWeight Weight, FakeQuantizedInput? Input)[] layers = [.. student.Layers.Values.Where(layer => layer.Weight is LearnedWeight).Select(layer => ((LearnedWeight)layer.Weight, layer.Input))];
        if (layers.Length == 0) throw new ArgumentException("no layer has anything to learn", nameof(student));
        AdamOptions decaying = new(WeightDecay: options.WeightDecay, Decoupled: true);
        double meanRate = options.AdapterRate * layers.Average(layer => layer.Weight.Scales.Value.Average());
        List<LearnedVariable> learned = [];
        foreach ((LearnedWeight weight, _) in layers)
        {
            double rate = options.ScaleAware ? options.AdapterRate * weight.Scales.Value.Average() : meanRate;
            foreach (Variable factor in weight.Adapter) Add(factor, rate, decaying);
            Add(weight.Scales, options.WeightStepRate);
        }

        foreach (FakeQuantizedInput input in layers.Select(layer => layer.Input).OfType<FakeQuantizedInput>().Distinct())
        {
            Add(input.Scales, options.RelativeStepRates ? options.InputStepRate * input.Scales.Value.Average() : options.InputStepRate);
            Add(input.ZeroPoints, options.InputZeroPointRate);
        }

        return learned;

        void Add(Variable variable, double rate, AdamOptions? adam = null)
        {
            if (rate > 0) learned.Add(new LearnedVariable(variable, rate, Schedules.Linear, adam));
        }
    }
}

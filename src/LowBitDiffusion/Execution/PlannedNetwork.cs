using System.Collections.Concurrent;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Execution;

/// <summary>
/// Runs a compiled network: one arena, packed weights, nothing allocated while it runs. One call at a time; several networks may share a
/// <see cref="PreparedModel"/> and so one set of weights.
/// </summary>
public sealed unsafe class PlannedNetwork : IDenoiser
{
    private readonly ExecutionPlan _plan;
    private readonly PlanContext _context;
    private readonly NativeBuffer _arena;
    private readonly NativeBuffer _request;
    private NativeBuffer _steps;
    private readonly string[] _slotNames;
    private readonly int _sampleIn;
    private readonly int _sampleOut;
    private readonly bool _ownsArena = true;
    private readonly bool _onDevice;
    private readonly DevicePlan? _device;

    internal PlannedNetwork(ExecutionPlan plan, PackedModel model, WorkerPool pool, IProgress<double>? progress, CancellationToken cancellationToken, DeviceModel? device = null)
    {
        _plan = plan;
        _slotNames = [.. plan.Inputs.Keys, .. plan.Outputs.Keys];
        _sampleIn = Array.IndexOf(_slotNames, "sample");
        _sampleOut = Array.LastIndexOf(_slotNames, "sample");
        _context = new PlanContext(pool, _slotNames.Length);
        (_onDevice, HostSteps) = (device is not null, device is null ? [] : DevicePlan.HostSteps(plan));
        PlanStep[] steps = [.. plan.Steps.Values.SelectMany(s => s)], here = [.. steps.Where(step => device is null || DevicePlan.OnDevice(step) is null)];
        double share = (double)here.Length / steps.Length;
        LoadWeights(here, model, new PartialProgress(progress, 0, share), cancellationToken);
        _arena = new NativeBuffer((nuint)(UsesHost ? plan.ArenaBytes : 0));
        _request = new NativeBuffer((nuint)(UsesHost ? plan.RequestBytes : 0));
        _steps = new NativeBuffer((nuint)(UsesHost ? plan.StepBytes : 0));
        _context.Arena = _arena.Pointer;
        _context.Request = _request.Pointer;
        if (device is null) return;
        try
        {
            _device = new DevicePlan(plan, device, _context, new PartialProgress(progress, share, 1 - share), cancellationToken);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private PlannedNetwork(PlannedNetwork first)
    {
        _plan = first._plan;
        (_slotNames, _sampleIn, _sampleOut) = (first._slotNames, first._sampleIn, first._sampleOut);
        (_arena, _ownsArena) = (first._arena, false);
        (_onDevice, HostSteps) = (first._onDevice, first.HostSteps);
        _request = new NativeBuffer(first._request.Length);
        _steps = new NativeBuffer((nuint)(first._steps.Length == 0 ? 0 : _plan.StepBytes));
        _context = new PlanContext(first._context.Pool, _slotNames.Length) { Arena = _arena.Pointer, Request = _request.Pointer };
        _device = first._device?.Twin(_context);
    }

    /// <summary>
    /// The same network prepared for other conditions: it has what is kept for a request of its own and works in this one's arena. Both are prepared for the same timesteps, run one at
    /// a time, and end with this one.
    /// </summary>
    internal PlannedNetwork Twin() => new(this);

    /// <inheritdoc/>
    public int SampleLength => (int)_plan.Inputs["sample"].Shape.Elements;

    /// <inheritdoc/>
    public int PredictionLength => (int)_plan.Outputs["sample"].Shape.Elements;

    /// <summary>Inputs by name, with their shapes.</summary>
    public IReadOnlyDictionary<string, Node> Inputs => _plan.Inputs;

    /// <summary>Outputs by name, with their shapes.</summary>
    public IReadOnlyDictionary<string, Node> Outputs => _plan.Outputs;

    /// <summary>Bytes of activations: the arena and what is kept for a request of the prepared number of steps.</summary>
    public long ActivationBytes => (long)(_arena.Length + _request.Length + _steps.Length) + (_device?.Bytes ?? 0);

    /// <summary>Steps that run on the processor although the network runs on a device, and why.</summary>
    public IReadOnlyList<HostStep> HostSteps { get; }

    /// <summary>Time of each kernel on the device since the last call; nothing unless <see cref="ComputeDevice.ProfilesKernels"/> was on.</summary>
    public IReadOnlyList<KernelTime> TakeKernelTimes() => _device?.TakeKernelTimes() ?? [];

    /// <summary>What the device's queue has done so far; nothing on the processor.</summary>
    public QueueStatistics DeviceStatistics => _device?.Statistics ?? default;

    /// <summary>Called with the value of every observed node, as dense rows of channels (NHWC), while a phase runs.</summary>
    public NodeObserver? Observer
    {
        get => _context.Observer;
        set => _context.Observer = value;
    }

    /// <inheritdoc/>
    public void Prepare(ReadOnlySpan<float> timesteps, IReadOnlyDictionary<string, float[]> conditions, CancellationToken cancellationToken = default)
    {
        BeginRequest(timesteps);
        float[] perImage = new float[_plan.Inputs.TryGetValue("timestep", out Node? timestep) ? timestep.Shape.Elements : 1];
        using PinnedSlots pinned = new(_context.Slots, _slotNames);
        RequireInputs(conditions.Keys, except: ["sample", "timestep"]);
        foreach ((string name, float[] condition) in conditions) pinned.Pin(name, Checked(name, condition));
        if (timestep is not null) pinned.Pin("timestep", perImage);
        Run(PlanPhase.Request, 0, cancellationToken);
        for (int step = 0; step < timesteps.Length; step++)
        {
            Array.Fill(perImage, timesteps[step]);
            Run(PlanPhase.Timestep, step, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken = default)
    {
        if (sample.Length != SampleLength) throw new ArgumentException($"the network takes {SampleLength} elements, found {sample.Length}", nameof(sample));
        if (prediction.Length != PredictionLength) throw new ArgumentException($"the network gives {PredictionLength} elements, found room for {prediction.Length}", nameof(prediction));
        fixed (float* input = sample, output = prediction)
        {
            _context.Slots[_sampleIn] = input;
            _context.Slots[_sampleOut] = output;
            Run(PlanPhase.Sample, step, cancellationToken);
        }
    }

    /// <summary>Runs every phase once on the given inputs and returns all outputs: networks outside a loop, and checks against reference results.</summary>
    /// <param name="inputs">All inputs by name, row-major; integers as numbers. Images of a batch may have different timesteps if nothing is quantized by timestep.</param>
    /// <param name="progress">Share of the multiplications that are done, 0 to 1; on a device, told after each phase.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    public IReadOnlyDictionary<string, float[]> Run(IReadOnlyDictionary<string, float[]> inputs, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        Dictionary<string, float[]> outputs = _plan.Outputs.ToDictionary(o => o.Key, o => new float[o.Value.Shape.Elements]);
        RunInto(outputs, inputs, progress, cancellationToken);
        return outputs;
    }

    /// <summary>The same of a network whose one output is images from −1 to 1: bytes <c>[N, H, W, C]</c>, as <see cref="Imaging.Image.FromSample"/> rounds them. A device hands over no more than these.</summary>
    /// <inheritdoc cref="Run(IReadOnlyDictionary{string, float[]}, IProgress{double}?, CancellationToken)" path="/param"/>
    public byte[] RunToPixels(IReadOnlyDictionary<string, float[]> inputs, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        (string name, Node output) = _plan.Outputs.Single();
        if (output.Shape.Rank != 4) throw new InvalidOperationException($"{name} {output.Shape} is no image");
        byte[] pixels = new byte[output.Shape.Elements];
        _context.OutputsPixels = true;
        try
        {
            RunInto(new Dictionary<string, byte[]> { [name] = pixels }, inputs, progress, cancellationToken);
        }
        finally
        {
            _context.OutputsPixels = false;
        }

        return pixels;
    }

    /// <summary>Time of each kind of work since the last call, if <see cref="Profile"/> is on.</summary>
    public IReadOnlyList<StepTiming> TakeTimings() => _context.TakeTimings();

    /// <summary>Whether every step is timed.</summary>
    public bool Profile
    {
        get => _context.Profile;
        set => _context.Profile = value;
    }

    /// <summary>Frees the activations; weights belong to the <see cref="PreparedModel"/>.</summary>
    public void Dispose()
    {
        _device?.Dispose();
        if (_ownsArena) _arena.Dispose();
        _request.Dispose();
        _steps.Dispose();
    }

    private void RunInto<T>(Dictionary<string, T[]> outputs, IReadOnlyDictionary<string, float[]> inputs, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        float timestep = inputs.TryGetValue("timestep", out float[]? values) && values.Length > 0 ? values[0] : 0;
        BeginRequest([timestep]);
        using PinnedSlots pinned = new(_context.Slots, _slotNames);
        RequireInputs(inputs.Keys, except: []);
        foreach ((string name, float[] input) in inputs) pinned.Pin(name, Checked(name, input));
        foreach ((string name, T[] output) in outputs) pinned.Pin(name, output, last: true);
        PlanProgress? told = progress is null ? null : new PlanProgress(_plan, progress);
        foreach (PlanPhase phase in Enum.GetValues<PlanPhase>()) Run(phase, 0, cancellationToken, told);
    }

    // A network on a device keeps a copy of its memory here only if some step needs it.
    private bool UsesHost => !_onDevice || HostSteps.Count > 0;

    private void LoadWeights(PlanStep[] steps, PackedModel model, PartialProgress progress, CancellationToken cancellationToken)
    {
        Lock telling = new();
        int loaded = 0;
        try
        {
            // One at a time to whoever is free: layers differ a thousandfold.
            Parallel.ForEach(Partitioner.Create(steps, loadBalance: true), new ParallelOptions { CancellationToken = cancellationToken, MaxDegreeOfParallelism = _context.Pool.Threads }, step =>
            {
                step.Load(model);
                // Whoever watches hears of ever more layers, from one thread at a time, and nothing after a stop.
                lock (telling)
                {
                    loaded++;
                    if (!cancellationToken.IsCancellationRequested) progress.Report((double)loaded / steps.Length);
                }
            });
        }
        finally
        {
            model.EndLoading();
        }
    }

    private void BeginRequest(ReadOnlySpan<float> timesteps)
    {
        nuint needed = (nuint)(UsesHost ? _plan.StepBytes * Math.Max(timesteps.Length, 1) : 0);
        if (_steps.Length < needed)
        {
            _steps.Dispose();
            _steps = new NativeBuffer(needed);
        }

        foreach (InputQuantizer[] quantizers in _plan.Quantizers.Values)
        {
            foreach (InputQuantizer quantizer in quantizers) quantizer.Prepare(timesteps);
        }

        _device?.BeginRequest(timesteps.Length);
    }

    private void Run(PlanPhase phase, int step, CancellationToken cancellationToken, PlanProgress? progress = null)
    {
        _context.Step = _steps.Pointer + step * _plan.StepBytes;
        foreach (InputQuantizer quantizer in _plan.Quantizers[phase]) quantizer.Select(step);
        if (_device is null)
        {
            _context.Run(_plan.Steps[phase], cancellationToken, progress);
            return;
        }

        _device.Run(phase, step, cancellationToken);
        foreach (PlanStep done in _plan.Steps[phase]) progress?.Add(done);
    }

    private void RequireInputs(IEnumerable<string> given, string[] except)
    {
        if (_plan.Inputs.Keys.Except(given).Except(except).FirstOrDefault() is { } missing)
            throw new InvalidRequestException(missing, $"expected {_plan.Inputs[missing].Shape}, found nothing");
    }

    private float[] Checked(string name, float[] values)
    {
        if (!_plan.Inputs.TryGetValue(name, out Node? input))
            throw new InvalidRequestException(name, $"the network has no such input; it has {string.Join(", ", _plan.Inputs.Keys)}");
        if (input.Shape.Elements != values.Length) throw new InvalidRequestException(name, $"expected {input.Shape}, found {values.Length} elements");
        return values;
    }
}

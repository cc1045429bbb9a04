using System.Diagnostics;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Interop;
using LowBitDiffusion.Kernels.OpenCL.Tuning;

namespace LowBitDiffusion.Execution.Devices;

/// <summary>A step of a plan that runs on the processor although the plan runs on a device.</summary>
/// <param name="Name">The module or node.</param>
/// <param name="Kind">Kind of work.</param>
/// <param name="InLoop">Whether it runs at every step of the loop; else once per request or once per timestep before it.</param>
/// <param name="Reason">Why.</param>
public sealed record HostStep(string Name, string Kind, bool InLoop, string Reason);

/// <summary>
/// A plan on a device. Memory is laid out as on the processor, one buffer for each kind of region (<see cref="DeviceLayout"/>).
/// <code>
///   arena | request | step 0 | step 1 | …          quantizers: one row per step of the loop         slots: inputs and outputs in the caller's layout
/// </code>
/// All steps of a phase are handed to a queue, in order or each behind those whose memory it needs (<see cref="StepOrder"/>), and the host sleeps once, at the end. A step without a form for the device runs on the processor in between: its regions are brought to the
/// host's copy of the arena and back.
/// </summary>
internal sealed unsafe class DevicePlan : IDisposable
{
    private readonly ExecutionPlan _plan;
    private readonly ComputeDevice _device;
    private readonly DeviceLayout _layout;
    private readonly StepOrder? _order;
    private readonly PlanContext _host;
    private readonly DeviceRun _run;
    private readonly DeviceQueue _queue;
    private readonly DeviceArena _tables;
    private readonly DevicePlan? _first;
    private readonly DeviceBuffer _arena;
    private readonly DeviceBuffer _request;
    private readonly DeviceBuffer _slots;
    private readonly int _quantizerRow;
    private DeviceBuffer _steps;
    private DeviceBuffer _quantizers;

    /// <summary>Takes memory on the device, brings the weights there, and gives layers their tiles.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="model">Weights, shared by all plans of a model.</param>
    /// <param name="host">The caller's memory, and the processor.</param>
    /// <param name="progress">Share that is done, 0 to 1.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <exception cref="DeviceException">The device is gone or full, or a kernel cannot be built.</exception>
    public DevicePlan(ExecutionPlan plan, DeviceModel model, PlanContext host, IProgress<double>? progress, CancellationToken cancellationToken)
        : this(plan, model.Device, new DeviceLayout(plan, model.Values), host, model.Device.OutOfOrder, first: null)
    {
        try
        {
            IDeviceStep[] steps = [.. plan.Steps.Values.SelectMany(s => s).Select(OnDevice).OfType<IDeviceStep>()];
            TileTuner? tuner = model.Device.MeasuresTiles ? model.Device.Tuner : null;
            int done = 0, all = steps.Length * (tuner is null ? 1 : 2);
            foreach (IDeviceStep step in steps)
            {
                cancellationToken.ThrowIfCancellationRequested();
                step.Load(model, _tables);
                progress?.Report((double)++done / all);
            }

            if (tuner is null) return;
            _run.Step = _steps.At(0);
            int known = tuner.Known;
            using DeviceQueue queue = _device.Context.CreateQueue(profile: true, model.Values);
            foreach (IDeviceStep step in steps)
            {
                step.Tune(_run, queue, tuner, cancellationToken);
                progress?.Report((double)++done / all);
            }

            if (tuner.Known > known) tuner.Keep();
        }
        catch (OpenClException e)
        {
            Dispose();
            throw ComputeDevice.Failure(_device.Properties, e);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    private DevicePlan(ExecutionPlan plan, ComputeDevice device, DeviceLayout layout, PlanContext host, bool outOfOrder, DevicePlan? first)
    {
        (_plan, _device, _layout, _host, _first) = (plan, device, layout, host, first);
        _order = first is not null ? first._order : outOfOrder ? new StepOrder(plan, layout) : null;
        List<IDisposable> made = [];
        try
        {
            OpenClContext context = device.Context;
            _queue = Made(context.CreateQueue(device.ProfilesKernels, layout.Values, inOrder: _order is null));
            _tables = first?._tables ?? Made(new DeviceArena(context));
            _arena = first?._arena ?? Made(context.Allocate(layout.ArenaBytes));
            _request = Made(context.Allocate(layout.RequestBytes));
            _steps = Made(context.Allocate(layout.StepBytes));
            _slots = Made(context.Allocate(layout.SlotBytes));
            _run = new DeviceRun(device, _queue, layout, host) { Arena = _arena.At(0), Request = _request.At(0), Slots = _slots.At(0) };
            foreach (InputQuantizer quantizer in plan.Quantizers.Values.SelectMany(q => q))
            {
                _run.Place(quantizer, (long)_quantizerRow * sizeof(float));
                _quantizerRow += (quantizer.Length + 15) / 16 * 16;
            }

            _quantizers = Made(context.Allocate((long)_quantizerRow * sizeof(float)));
        }
        catch (OpenClException e)
        {
            Undo();
            throw ComputeDevice.Failure(device.Properties, e);
        }
        catch
        {
            Undo();
            throw;
        }

        T Made<T>(T part) where T : IDisposable
        {
            made.Add(part);
            return part;
        }

        void Undo()
        {
            for (int i = made.Count - 1; i >= 0; i--) made[i].Dispose();
        }
    }

    /// <summary>Bytes on the device beside weights.</summary>
    public long Bytes => _arena.Bytes + _request.Bytes + _steps.Bytes + _slots.Bytes + _quantizers.Bytes + _tables.Bytes;

    /// <summary>What the queue has done.</summary>
    public QueueStatistics Statistics => _queue.Statistics;

    /// <summary>Times of kernels since the last call, if the device profiles.</summary>
    public IReadOnlyList<KernelTime> TakeKernelTimes()
    {
        try
        {
            return _queue.TakeKernelTimes();
        }
        catch (OpenClException e)
        {
            throw ComputeDevice.Failure(_device.Properties, e);
        }
    }

    /// <summary>Steps that run on the processor, and why.</summary>
    public static IReadOnlyList<HostStep> HostSteps(ExecutionPlan plan) =>
    [
        .. plan.Steps.SelectMany(phase => phase.Value.Where(step => OnDevice(step) is null).Select(step =>
            new HostStep(step.Name, step.Kind, phase.Key == PlanPhase.Sample, (step as IDeviceStep)?.Refusal ?? "there is no kernel for it"))),
    ];

    /// <summary>The step's form for a device, or null if it runs on the processor.</summary>
    public static IDeviceStep? OnDevice(PlanStep step) => step is IDeviceStep { Refusal: null } form ? form : null;

    /// <summary>The same plan with memory of its own for a request, over the same arena.</summary>
    public DevicePlan Twin(PlanContext host) => new(_plan, _device, _layout, host, _order is not null, this);

    /// <summary>Makes room for a loop, and brings the parameters of all quantizers for all steps.</summary>
    public void BeginRequest(int steps)
    {
        try
        {
            Grow(ref _steps, _layout.StepBytes * steps);
            Grow(ref _quantizers, (long)_quantizerRow * steps * sizeof(float));
            float[] rows = new float[_quantizerRow * steps];
            for (int step = 0; step < steps; step++)
            {
                int at = step * _quantizerRow;
                foreach (InputQuantizer quantizer in _plan.Quantizers.Values.SelectMany(q => q))
                {
                    quantizer.Select(step);
                    quantizer.CopyTo(rows.AsSpan(at));
                    at += (quantizer.Length + 15) / 16 * 16;
                }
            }

            _queue.Upload<float>(_quantizers.At(0), rows);
        }
        catch (OpenClException e)
        {
            throw ComputeDevice.Failure(_device.Properties, e);
        }
    }

    /// <summary>Runs a phase and sleeps until it is done. Cancellation takes effect after what is already under way.</summary>
    public void Run(PlanPhase phase, int step, CancellationToken cancellationToken)
    {
        _run.Step = _steps.At(step * _layout.StepBytes);
        _run.Quantizers = _quantizers.At((long)step * _quantizerRow * sizeof(float));
        PlanStep[] steps = _plan.Steps[phase];
        bool drained = false;
        try
        {
            for (int i = 0; i < steps.Length; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                long start = _host.Profile ? Stopwatch.GetTimestamp() : 0;
                if (_order is not null) _queue.Begin(i, _order.After(phase, i));
                if (OnDevice(steps[i]) is { } form) form.Enqueue(_run);
                else RunOnHost(steps[i], i);
                if (!_host.Profile) continue;
                _queue.Wait();
                _host.Record(steps[i], start);
            }

            drained = true;
            _queue.Wait();
        }
        catch (OpenClException e)
        {
            throw ComputeDevice.Failure(_device.Properties, e);
        }
        finally
        {
            // The caller's memory is let go when this returns: nothing may be under way.
            if (!drained) Drain();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _queue.Dispose();
        _request.Dispose();
        _steps.Dispose();
        _slots.Dispose();
        _quantizers.Dispose();
        if (_first is not null) return;
        _arena.Dispose();
        _tables.Dispose();
    }

    private void Grow(ref DeviceBuffer buffer, long bytes)
    {
        if (buffer.Bytes >= bytes) return;
        buffer.Dispose();
        buffer = _device.Context.Allocate(bytes);
    }

    private void RunOnHost(PlanStep step, int index)
    {
        _queue.Wait();
        Region[] regions = [.. step.Regions.Select(r => r.Root).Distinct()];
        // What the step itself writes first needs not be brought.
        foreach (Region region in regions.Where(r => r.Kind != RegionKind.Arena || r.First < index))
        {
            ValueStorage stored = _layout.Of(region);
            Span<float> numbers = Numbers(region);
            stored.Numbers(_queue.Download<byte>(_run.Bytes(region), numbers.Length * stored.Bytes())).CopyTo(numbers);
        }

        step.Run(_host);
        foreach (Region region in regions) _queue.Upload<byte>(_run.Bytes(region), _layout.Of(region).Stored(Numbers(region)));

        Span<float> Numbers(Region region) => new(_host.Bytes(region), (int)((region.Content + sizeof(float) - 1) / sizeof(float)));
    }

    private void Drain()
    {
        try
        {
            _queue.Wait();
        }
        catch (OpenClException)
        {
            // The error that ended the run is the one to tell of.
        }
    }
}

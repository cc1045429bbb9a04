using System.Diagnostics;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>What steps need at run time: bases of the memory kinds, threads, the caller's inputs and outputs.</summary>
internal sealed unsafe class PlanContext(WorkerPool pool, int slots)
{
    private readonly Dictionary<PlanStep, (long Ticks, long Fewest, int Calls)> _timings = [];

    /// <summary>Threads.</summary>
    public WorkerPool Pool { get; } = pool;

    /// <summary>Base of <see cref="RegionKind.Arena"/>.</summary>
    public byte* Arena { get; set; }

    /// <summary>Base of <see cref="RegionKind.Request"/>.</summary>
    public byte* Request { get; set; }

    /// <summary>Base of <see cref="RegionKind.Step"/> for the current step of the loop.</summary>
    public byte* Step { get; set; }

    /// <summary>The caller's memory: one place per input and output of the plan.</summary>
    public SlotTable Slots { get; } = new(slots);

    /// <summary>Whether outputs are handed back as the bytes of pictures, <c>[N, H, W, C]</c>, not as floats.</summary>
    public bool OutputsPixels { get; set; }

    /// <summary>Watches observed nodes, or null.</summary>
    public NodeObserver? Observer { get; set; }

    /// <summary>Whether every step is timed.</summary>
    public bool Profile { get; set; }

    /// <summary>Runs steps in order, asking before each whether to stop.</summary>
    public void Run(PlanStep[] steps, CancellationToken cancellationToken, PlanProgress? progress = null)
    {
        foreach (PlanStep step in steps)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (Profile) RunTimed(step);
            else step.Run(this);
            progress?.Add(step);
        }
    }

    /// <summary>Times since the last call, in the order of first use.</summary>
    public IReadOnlyList<StepTiming> TakeTimings()
    {
        StepTiming[] timings = [.. _timings.Select(t => new StepTiming(t.Key.Name, t.Key.Kind, t.Key.Macs, t.Value.Calls, Stopwatch.GetElapsedTime(0, t.Value.Ticks), Stopwatch.GetElapsedTime(0, t.Value.Fewest)))];
        _timings.Clear();
        return timings;
    }

    /// <summary>The first byte of a region.</summary>
    public byte* Bytes(Region region)
    {
        Region root = region.Root;
        byte* origin = root.Kind switch { RegionKind.Arena => Arena, RegionKind.Request => Request, _ => Step };
        return origin + root.Offset;
    }

    /// <summary>The first float of a value.</summary>
    public float* Floats(in Storage storage) => (float*)Bytes(storage.Region) + storage.Offset;

    /// <summary>The rows of a value.</summary>
    public RowView View(in Storage storage) => new(Floats(storage), storage.Stride);

    /// <summary>Adds a call that began at <paramref name="start"/> and ends now to a step's time.</summary>
    public void Record(PlanStep step, long start)
    {
        long taken = Stopwatch.GetTimestamp() - start;
        (long ticks, long fewest, int calls) = _timings.GetValueOrDefault(step, (0, long.MaxValue, 0));
        _timings[step] = (ticks + taken, Math.Min(fewest, taken), calls + 1);
    }

    private void RunTimed(PlanStep step)
    {
        long start = Stopwatch.GetTimestamp();
        step.Run(this);
        Record(step, start);
    }
}

/// <summary>Addresses of the caller's inputs and outputs.</summary>
internal sealed unsafe class SlotTable(int count)
{
    private readonly nint[] _addresses = new nint[count];

    /// <summary>The address in a slot.</summary>
    public float* this[int slot]
    {
        get => (float*)_addresses[slot];
        set => _addresses[slot] = (nint)value;
    }
}

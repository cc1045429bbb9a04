using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Execution.Devices;

/// <summary>
/// Where a plan's regions lie on a device, and how its values do: as floats, or all that the device computes with as float16. What only the host reads (timesteps, labels) keeps all its digits.
/// </summary>
internal sealed class DeviceLayout
{
    private readonly HashSet<Region> _halves;
    private readonly MemoryLayout _regions;
    private readonly long[] _slots;

    /// <summary>Lays a plan out.</summary>
    public DeviceLayout(ExecutionPlan plan, ValueStorage values)
    {
        Values = values;
        _halves = values == ValueStorage.Single ? [] : [.. plan.Steps.Values.SelectMany(steps => steps.Where(Computes)).SelectMany(step => step.Regions).Select(r => r.Root).Where(r => r.HoldsValue)];
        _regions = new MemoryLayout(plan.Steps.Values, Bytes);
        Node[] slots = [.. plan.Inputs.Values, .. plan.Outputs.Values];
        _slots = new long[slots.Length];
        for (int i = 0; i < slots.Length; i++)
        {
            _slots[i] = SlotBytes;
            SlotBytes += (slots[i].Shape.Elements * sizeof(float) + 63) / 64 * 64;
        }
    }

    /// <summary>How values lie in memory.</summary>
    public ValueStorage Values { get; }

    /// <summary>Bytes of the arena.</summary>
    public long ArenaBytes => _regions.ArenaBytes;

    /// <summary>Bytes that live for a request.</summary>
    public long RequestBytes => _regions.RequestBytes;

    /// <summary>Bytes that live for a request, for each step of the loop.</summary>
    public long StepBytes => _regions.StepBytes;

    /// <summary>Bytes of inputs and outputs in the caller's layout.</summary>
    public long SlotBytes { get; }

    /// <summary>Offset of a region from the base of its kind.</summary>
    public long Offset(Region region) => _regions.Offsets[region.Root];

    /// <summary>Bytes of a region.</summary>
    public RegionSpan Span(Region region) => new(region.Root.Kind, Offset(region), Offset(region) + Bytes(region.Root));

    /// <summary>Offset of an input or output in the caller's layout.</summary>
    public long Slot(int slot) => _slots[slot];

    /// <summary>How the numbers of a region lie in memory.</summary>
    public ValueStorage Of(Region region) => _halves.Contains(region.Root) ? ValueStorage.Half : ValueStorage.Single;

    private long Bytes(Region root) => Of(root) == ValueStorage.Half ? root.HalfBytes : root.Bytes;

    private static bool Computes(PlanStep step) => DevicePlan.OnDevice(step) is not null && step is not InputStep { IsCopied: true };
}

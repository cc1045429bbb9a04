using LowBitDiffusion.Execution.Planning;

namespace LowBitDiffusion.Execution.Devices;

/// <summary>
/// What each step of a phase waits for where nothing else orders steps: the earlier steps that write bytes which it reads or writes, or read bytes which it writes, but for those that another of them has
/// waited for. Regions share memory one after the other, so bytes are compared, not regions.
/// </summary>
internal sealed class StepOrder
{
    private readonly Dictionary<PlanPhase, int[][]> _after;

    /// <summary>Compares every step with those before it.</summary>
    public StepOrder(ExecutionPlan plan, DeviceLayout layout) => _after = plan.Steps.ToDictionary(phase => phase.Key, phase => Order(phase.Value, layout));

    /// <summary>The steps that a step waits for.</summary>
    public ReadOnlySpan<int> After(PlanPhase phase, int step) => _after[phase][step];

    private static int[][] Order(PlanStep[] steps, DeviceLayout layout)
    {
        (RegionSpan[] Reads, RegionSpan[] Writes)[] uses = [.. steps.Select(step => (Spans(step.Reads), Spans(step.Writes)))];
        HashSet<int>[] before = new HashSet<int>[steps.Length];
        int[][] after = new int[steps.Length][];
        for (int i = 0; i < steps.Length; i++)
        {
            List<int> direct = [];
            before[i] = [];
            for (int j = i - 1; j >= 0; j--)
            {
                if (before[i].Contains(j) || !(Meet(uses[i].Reads, uses[j].Writes) || Meet(uses[i].Writes, uses[j].Reads) || Meet(uses[i].Writes, uses[j].Writes))) continue;
                direct.Add(j);
                before[i].Add(j);
                before[i].UnionWith(before[j]);
            }

            after[i] = [.. direct];
        }

        return after;

        RegionSpan[] Spans(IEnumerable<Region> regions) => [.. regions.Select(layout.Span)];
    }

    private static bool Meet(RegionSpan[] some, RegionSpan[] others) => some.Any(one => others.Any(one.Meets));
}

/// <summary>Bytes of a region.</summary>
/// <param name="Kind">Where they are.</param>
/// <param name="Start">The first.</param>
/// <param name="End">The one behind the last.</param>
internal readonly record struct RegionSpan(RegionKind Kind, long Start, long End)
{
    /// <summary>Whether the other has some of the same bytes.</summary>
    public bool Meets(RegionSpan other) => Kind == other.Kind && Start < other.End && other.Start < End;
}

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Where the regions of a plan lie: those of the arena by their lives, which one block serves in all phases, the others one after the other.</summary>
internal sealed class MemoryLayout
{
    private readonly Dictionary<Region, long> _offsets = [];

    /// <summary>Lays out.</summary>
    /// <param name="phases">The steps of each phase.</param>
    /// <param name="bytes">Length of a region.</param>
    public MemoryLayout(IEnumerable<PlanStep[]> phases, Func<Region, long> bytes)
    {
        foreach (Region[] regions in phases.Select(steps => steps.SelectMany(s => s.Regions).Select(r => r.Root).Distinct().ToArray()))
        {
            ArenaBytes = Math.Max(ArenaBytes, Assign(regions.Where(r => r.Kind == RegionKind.Arena), bytes, _offsets));
            RequestBytes = Append(regions, RegionKind.Request, RequestBytes);
            StepBytes = Append(regions, RegionKind.Step, StepBytes);
        }

        long Append(Region[] regions, RegionKind kind, long total)
        {
            foreach (Region region in regions.Where(r => r.Kind == kind && !_offsets.ContainsKey(r)))
            {
                _offsets.Add(region, total);
                total += bytes(region);
            }

            return total;
        }
    }

    /// <summary>Bytes of the arena.</summary>
    public long ArenaBytes { get; }

    /// <summary>Bytes that live for a request.</summary>
    public long RequestBytes { get; }

    /// <summary>Bytes that live for a request, for each step of the loop.</summary>
    public long StepBytes { get; }

    /// <summary>The regions that hold memory, each with its offset from the base of its kind.</summary>
    public IReadOnlyDictionary<Region, long> Offsets => _offsets;

    /// <summary>
    /// Places regions in one block so that those alive at the same time do not overlap: largest first, each at the lowest place that is free during its life. Returns the block's length.
    /// </summary>
    /// <param name="regions">The regions.</param>
    /// <param name="bytes">Length of a region.</param>
    /// <param name="offsets">Takes their offsets.</param>
    public static long Assign(IEnumerable<Region> regions, Func<Region, long> bytes, Dictionary<Region, long> offsets)
    {
        List<Region> placed = [];
        long total = 0;
        foreach (Region region in regions.OrderByDescending(bytes).ThenBy(r => r.First))
        {
            long offset = 0;
            foreach (Region other in placed.Where(o => o.First <= region.Last && region.First <= o.Last).OrderBy(o => offsets[o]))
            {
                if (offset + bytes(region) <= offsets[other]) break;
                offset = Math.Max(offset, offsets[other] + bytes(other));
            }

            offsets.Add(region, offset);
            placed.Add(region);
            total = Math.Max(total, offset + bytes(region));
        }

        return total;
    }
}

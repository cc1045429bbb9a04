namespace LowBitDiffusion.Execution.Planning;

/// <summary>Where a region lives.</summary>
internal enum RegionKind
{
    /// <summary>In the arena, while it is needed.</summary>
    Arena,
    /// <summary>For a whole request: what depends on labels or text alone.</summary>
    Request,
    /// <summary>Once per step of the loop, for a whole request: time projections, modulations.</summary>
    Step,
}

/// <summary>A piece of memory that steps write and read, and when.</summary>
internal sealed class Region(RegionKind kind, long bytes)
{
    private Region? _alias;

    /// <summary>Where it lives.</summary>
    public RegionKind Kind { get; } = kind;

    /// <summary>Its length, a multiple of 64, including room for vectors that read over its end.</summary>
    public long Bytes { get; } = (bytes + 64 + 63) / 64 * 64;

    /// <summary>Index of the first step that touches it.</summary>
    public int First { get; private set; } = int.MaxValue;

    /// <summary>Index of the last step that touches it.</summary>
    public int Last { get; private set; } = -1;

    /// <summary>Offset from the base of its kind, once laid out.</summary>
    public long Offset { get; set; }

    /// <summary>The region that holds the memory: itself, or the one it was merged into.</summary>
    public Region Root => _alias?.Root ?? this;

    /// <summary>Records that a step touches it.</summary>
    public void Touch(int step)
    {
        First = Math.Min(First, step);
        Last = Math.Max(Last, step);
    }

    /// <summary>Lets this region live in the memory of another whose last use is this one's first: a sum written over its operand.</summary>
    public void MergeInto(Region other)
    {
        _alias = other.Root;
        _alias.Touch(First);
        _alias.Touch(Last);
    }
}

/// <summary>Lays regions out in one block so that those alive at the same time do not overlap.</summary>
internal static class ArenaLayout
{
    /// <summary>Sets every offset, largest first, each at the lowest place that is free during its life. Returns the block's length in bytes.</summary>
    public static long Assign(IEnumerable<Region> regions)
    {
        List<Region> placed = [];
        long total = 0;
        foreach (Region region in regions.OrderByDescending(r => r.Bytes).ThenBy(r => r.First))
        {
            long offset = 0;
            foreach (Region other in placed.Where(o => o.First <= region.Last && region.First <= o.Last).OrderBy(o => o.Offset))
            {
                if (offset + region.Bytes <= other.Offset) break;
                offset = Math.Max(offset, other.Offset + other.Bytes);
            }

            region.Offset = offset;
            placed.Add(region);
            total = Math.Max(total, offset + region.Bytes);
        }

        return total;
    }
}

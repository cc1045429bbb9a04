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
/// <param name="kind">Where it lives.</param>
/// <param name="bytes">Bytes of its content.</param>
/// <param name="holdsValue">Whether its content is a value's floats, which a device may keep as float16.</param>
internal sealed class Region(RegionKind kind, long bytes, bool holdsValue = false)
{
    private Region? _alias;

    /// <summary>Where it lives.</summary>
    public RegionKind Kind { get; } = kind;

    /// <summary>Bytes of its content.</summary>
    public long Content => bytes;

    /// <summary>Whether its content is a value's floats.</summary>
    public bool HoldsValue => holdsValue;

    /// <summary>Its length, a multiple of 64, including room for vectors that read over its end.</summary>
    public long Bytes { get; } = Padded(bytes);

    /// <summary>Its length where values are kept as float16.</summary>
    public long HalfBytes => Padded(bytes / 2);

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

    private static long Padded(long bytes) => (bytes + 64 + 63) / 64 * 64;
}

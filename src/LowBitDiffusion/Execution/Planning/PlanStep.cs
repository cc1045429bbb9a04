namespace LowBitDiffusion.Execution.Planning;

/// <summary>One call of one kernel with everything about it decided: shapes, places, packed weights.</summary>
internal abstract class PlanStep
{
    /// <summary>The node or module, for tables and errors.</summary>
    public required string Name { get; init; }

    /// <summary>Kind of work, for tables: <c>conv u8</c>, <c>stage</c>, <c>attention</c>…</summary>
    public abstract string Kind { get; }

    /// <summary>Multiply-accumulates of one call.</summary>
    public virtual long Macs => 0;

    /// <summary>Regions that the step reads.</summary>
    public abstract IEnumerable<Region> Reads { get; }

    /// <summary>Regions that the step writes, scratch included.</summary>
    public abstract IEnumerable<Region> Writes { get; }

    /// <summary>Both.</summary>
    public IEnumerable<Region> Regions => Reads.Concat(Writes);

    /// <summary>Fetches the weights that the step reads; before this a step only knows their sizes.</summary>
    public virtual void Load(PackedModel model)
    {
    }

    /// <summary>Does the work. Allocates nothing.</summary>
    public abstract void Run(PlanContext context);

    /// <summary>The regions of several storages.</summary>
    protected static IEnumerable<Region> Of(params IEnumerable<Storage?> storages) => storages.OfType<Storage>().Select(s => s.Region);
}

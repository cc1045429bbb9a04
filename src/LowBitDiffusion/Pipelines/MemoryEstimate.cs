using LowBitDiffusion.Execution;

namespace LowBitDiffusion.Pipelines;

/// <summary>Bytes that a pipeline takes, by part.</summary>
/// <param name="Parts">What needs how much.</param>
public sealed record MemoryEstimate(IReadOnlyList<(string Part, long Bytes)> Parts)
{
    /// <summary>All parts together.</summary>
    public long Total => Parts.Sum(p => p.Bytes);

    /// <summary>What the process takes beside the parts: the runtime, its code and managed memory, and whatever else the program holds; as of when the estimate was made.</summary>
    public long Runtime { get; init; } = ProcessMemory.RuntimeBytes();

    /// <summary>Most bytes that the process will have resident, as far as the model is concerned.</summary>
    public long Process => Total + Runtime;

    /// <inheritdoc/>
    public override string ToString() => string.Join(", ", Parts.Select(p => $"{p.Part} {Format(p.Bytes)}"));

    internal static string Format(long bytes) => bytes >= 1 << 20 ? $"{bytes / 1048576.0:0.0} MiB" : $"{bytes / 1024.0:0.0} KiB";
}

/// <summary>A model does not fit the memory it was given; nothing was loaded.</summary>
public sealed class MemoryBudgetException : LowBitDiffusionException
{
    /// <summary>Creates the error.</summary>
    /// <param name="budget">Bytes that were given.</param>
    /// <param name="estimate">Bytes that are needed.</param>
    public MemoryBudgetException(long budget, MemoryEstimate estimate)
        : base($"memory budget: {MemoryEstimate.Format(budget)} were given, {MemoryEstimate.Format(estimate.Total)} are needed ({estimate})")
    {
        Budget = budget;
        Estimate = estimate;
    }

    /// <summary>Bytes that were given.</summary>
    public long Budget { get; }

    /// <summary>What needs how much.</summary>
    public MemoryEstimate Estimate { get; }
}

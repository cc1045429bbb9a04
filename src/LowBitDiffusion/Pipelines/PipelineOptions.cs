namespace LowBitDiffusion.Pipelines;

/// <summary>How a pipeline runs.</summary>
public sealed record PipelineOptions
{
    /// <summary>Threads; null for one per processor.</summary>
    public int? Threads { get; init; }

    /// <summary>Most bytes that weights and activations may take; a model that needs more is refused before its weights are read. Null for no limit.</summary>
    public long? MemoryBudget { get; init; }

    /// <summary>Most images that go through the network at once; more are drawn in turns. An image does not depend on the batch it is drawn in.</summary>
    public int MaxBatch { get; init; } = 8;

    /// <summary>Bytes of <paramref name="count"/> gibibytes, for <see cref="MemoryBudget"/>.</summary>
    public static long GiB(double count) => (long)(count * (1L << 30));
}

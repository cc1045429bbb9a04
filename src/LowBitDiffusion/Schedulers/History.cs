namespace LowBitDiffusion.Schedulers;

/// <summary>The last few batches of a multistep solver, in memory that is allocated once.</summary>
/// <param name="capacity">Batches kept.</param>
/// <param name="length">Values of a batch.</param>
internal sealed class History(int capacity, int length)
{
    private readonly float[][] _entries = [.. Enumerable.Range(0, capacity).Select(_ => new float[length])];
    private int _newest;

    /// <summary>Batches remembered.</summary>
    public int Count { get; private set; }

    /// <summary>A batch by age; 0 is the newest.</summary>
    public ReadOnlySpan<float> this[int age] => _entries[(_newest + age) % _entries.Length];

    /// <summary>Forgets the oldest batch if there is no room and gives the memory of the new one, to be filled.</summary>
    public Span<float> Push()
    {
        _newest = (_newest + _entries.Length - 1) % _entries.Length;
        Count = Math.Min(Count + 1, _entries.Length);
        return _entries[_newest];
    }
}

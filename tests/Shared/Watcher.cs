namespace LowBitDiffusion.Tests.Shared;

/// <summary>Keeps what a work tells of itself, and may act on it.</summary>
/// <param name="then">Called with every report.</param>
/// <param name="pause">How long hearing takes: threads that tell at once are caught doing so.</param>
internal sealed class Watcher<T>(Action<T>? then = null, TimeSpan pause = default) : IProgress<T>
{
    private int _hearing;

    /// <summary>What was told, in order.</summary>
    public List<T> Reports { get; } = [];

    /// <summary>Reports that came while another one was heard.</summary>
    public int Overlapping { get; private set; }

    /// <inheritdoc/>
    public void Report(T value)
    {
        bool overlaps = Interlocked.Increment(ref _hearing) > 1;
        if (pause > TimeSpan.Zero) Thread.Sleep(pause);
        lock (Reports)
        {
            if (overlaps) Overlapping++;
            Reports.Add(value);
            then?.Invoke(value);
        }

        Interlocked.Decrement(ref _hearing);
    }
}

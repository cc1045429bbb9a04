namespace LowBitDiffusion.Tests.Shared;

/// <summary>Hears how far a work is and takes its time over it, so that threads that tell at once are caught doing so.</summary>
internal sealed class SlowWatcher(Action<double>? told = null) : IProgress<double>
{
    private int _hearing;

    /// <summary>What was told, in order.</summary>
    public List<double> Told { get; } = [];

    /// <summary>Reports that came while another one was heard.</summary>
    public int Overlapping { get; private set; }

    /// <inheritdoc/>
    public void Report(double value)
    {
        bool overlaps = Interlocked.Increment(ref _hearing) > 1;
        Thread.Sleep(1);
        lock (Told)
        {
            if (overlaps) Overlapping++;
            Told.Add(value);
            told?.Invoke(value);
        }

        Interlocked.Decrement(ref _hearing);
    }
}

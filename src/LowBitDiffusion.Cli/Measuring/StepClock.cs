namespace LowBitDiffusion.Cli.Measuring;

/// <summary>Durations of steps from the times at which they ended.</summary>
internal sealed class StepClock
{
    private readonly List<TimeSpan> _durations = [];

    /// <summary>Time of all steps.</summary>
    public TimeSpan Total { get; private set; }

    /// <summary>The latest step.</summary>
    public TimeSpan Last => _durations.Count > 0 ? _durations[^1] : TimeSpan.Zero;

    /// <summary>The middle one.</summary>
    public TimeSpan Median => Percentile.Of([.. _durations.Order()], 0.5);

    /// <summary>Notes the end of what is no step: encoding, decoding.</summary>
    /// <param name="elapsed">Time since the first began.</param>
    public void Pass(TimeSpan elapsed) => Total = elapsed;

    /// <summary>Notes the end of a step.</summary>
    /// <param name="elapsed">Time since the first began.</param>
    public void Add(TimeSpan elapsed)
    {
        _durations.Add(elapsed - Total);
        Total = elapsed;
    }
}

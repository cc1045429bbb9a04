namespace LowBitDiffusion.Cli.Measuring;

/// <summary>Ranks of durations.</summary>
internal static class Percentile
{
    /// <summary>The duration that a share of them does not exceed (nearest rank); zero if there are none.</summary>
    /// <param name="sorted">Ascending.</param>
    /// <param name="share">0 to 1.</param>
    public static TimeSpan Of(IReadOnlyList<TimeSpan> sorted, double share) =>
        sorted.Count == 0 ? TimeSpan.Zero : sorted[Math.Clamp((int)Math.Ceiling(share * sorted.Count) - 1, 0, sorted.Count - 1)];
}

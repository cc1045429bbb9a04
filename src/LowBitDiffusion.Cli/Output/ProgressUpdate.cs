using System.Diagnostics;
using System.Globalization;

namespace LowBitDiffusion.Cli.Output;

/// <summary>How far a piece of work is.</summary>
/// <param name="Fraction">0 to 1.</param>
/// <param name="Text">What to say beside the bar, if anything.</param>
internal readonly record struct ProgressUpdate(double Fraction, string? Text = null);

/// <summary>Reports on the caller's thread and in order, which <see cref="Progress{T}"/> does not.</summary>
internal sealed class DelegateProgress<T>(Action<T> report) : IProgress<T>
{
    /// <inheritdoc/>
    public void Report(T value) => report(value);
}

/// <summary>Progress without a terminal: a line now and then, and one at the end.</summary>
internal sealed class PlainProgress(TextWriter writer, string title) : IProgress<ProgressUpdate>
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(1), s_remarkable = TimeSpan.FromSeconds(10);

    // From less nothing can be said about what is left.
    private const double Telling = 1e-3;

    private readonly Lock _lock = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private long _last = Stopwatch.GetTimestamp();
    private bool _complete;

    /// <inheritdoc/>
    public void Report(ProgressUpdate value)
    {
        lock (_lock)
        {
            // Fractions that are sums do not hit 1 exactly.
            bool complete = value.Fraction > 1 - 1e-9;
            if (_complete || (!complete && Stopwatch.GetElapsedTime(_last) < s_interval)) return;
            (_last, _complete) = (Stopwatch.GetTimestamp(), complete);
            TimeSpan elapsed = Stopwatch.GetElapsedTime(_start);
            TimeSpan left = elapsed * ((1 - value.Fraction) / Math.Max(value.Fraction, Telling));
            string remaining = complete || elapsed < s_remarkable || value.Fraction < Telling ? "" : string.Create(CultureInfo.InvariantCulture, $", {(int)left.TotalHours}:{left:mm\\:ss} left");
            string percent = string.Create(CultureInfo.InvariantCulture, $"{title}: {value.Fraction * 100:0} %{remaining}");
            writer.WriteLine(value.Text is { } text ? $"{percent} ({text})" : percent);
        }
    }
}

using System.Globalization;

namespace LowBitDiffusion.Imaging.Plotting;

/// <summary>A mark on an axis.</summary>
internal readonly record struct PlotTick(double Value, string Label);

/// <summary>The range of one axis, linear or logarithmic, and its ticks: multiples of 1, 2 or 5 times a power of ten.</summary>
internal sealed class PlotAxis
{
    private readonly bool _logarithmic;

    private PlotAxis(double minimum, double maximum, bool logarithmic, IReadOnlyList<PlotTick> ticks) => (Minimum, Maximum, _logarithmic, Ticks) = (minimum, maximum, logarithmic, ticks);

    public double Minimum { get; }

    public double Maximum { get; }

    /// <summary>Marks within the range, ascending.</summary>
    public IReadOnlyList<PlotTick> Ticks { get; }

    /// <summary>An axis of exactly the values' range.</summary>
    public static PlotAxis Exact(IEnumerable<double> values, int ticks)
    {
        (double minimum, double maximum) = Range(values);
        double step = Step(maximum - minimum, ticks);
        return new PlotAxis(minimum, maximum, logarithmic: false, LinearTicks(minimum, maximum, step));
    }

    /// <summary>A linear axis that begins and ends at a tick.</summary>
    public static PlotAxis Rounded(IEnumerable<double> values, int ticks)
    {
        (double minimum, double maximum) = Range(values);
        double step = Step(maximum - minimum, ticks);
        (minimum, maximum) = (Math.Floor(minimum / step + 1e-9) * step, Math.Ceiling(maximum / step - 1e-9) * step);
        return new PlotAxis(minimum, maximum, logarithmic: false, LinearTicks(minimum, maximum, step));
    }

    /// <summary>A logarithmic axis: a tick for every decade or every few, or for 1, 2 and 5 where there are only few decades.</summary>
    public static PlotAxis Logarithmic(IEnumerable<double> values, int ticks)
    {
        (double minimum, double maximum) = Range(values.Where(value => value > 0), inDecades: true);
        int first = (int)Math.Floor(Math.Log10(minimum)), last = (int)Math.Ceiling(Math.Log10(maximum));
        int[] digits = last - first <= 3 ? [1, 2, 5] : [1];
        double[] candidates = [.. Enumerable.Range(first, last - first + 1).SelectMany(decade => digits.Select(digit => digit * Math.Pow(10, decade)))];

        // The range grows to the nearest ticks outside.
        minimum = candidates.Last(tick => tick <= minimum * (1 + 1e-9));
        maximum = candidates.Append(Math.Pow(10, last)).First(tick => tick >= maximum * (1 - 1e-9));
        double[] inside = [.. candidates.Where(tick => tick >= minimum * (1 - 1e-9) && tick <= maximum * (1 + 1e-9))];
        int every = (inside.Length + ticks - 1) / ticks;
        return new PlotAxis(minimum, maximum, logarithmic: true, [.. inside.Where((_, i) => i % every == 0).Select(tick => new PlotTick(tick, Text(tick, tick, tick)))]);
    }

    /// <summary>Whether a value can be shown.</summary>
    public bool Has(double value) => double.IsFinite(value) && (!_logarithmic || value > 0);

    /// <summary>Where a value lies: 0 at the minimum, 1 at the maximum.</summary>
    public double Position(double value) =>
        _logarithmic ? Math.Log(value / Minimum) / Math.Log(Maximum / Minimum) : (value - Minimum) / (Maximum - Minimum);

    // A range of nothing, or of one value, is widened to something that can be drawn.
    private static (double Minimum, double Maximum) Range(IEnumerable<double> values, bool inDecades = false)
    {
        (double minimum, double maximum) = (double.PositiveInfinity, double.NegativeInfinity);
        foreach (double value in values.Where(double.IsFinite)) (minimum, maximum) = (Math.Min(minimum, value), Math.Max(maximum, value));
        if (minimum > maximum) return inDecades ? (1, 10) : (0, 1);
        if (minimum < maximum) return (minimum, maximum);
        double margin = minimum == 0 ? 1 : Math.Abs(minimum) / 2;
        return (minimum - margin, maximum + margin);
    }

    // The smallest of 1, 2, 5 times a power of ten that needs no more than so many intervals.
    private static double Step(double range, int intervals)
    {
        double rough = range / intervals, power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        return power * new[] { 1, 2, 5, 10 }.First(digit => digit * power >= rough * (1 - 1e-9));
    }

    private static PlotTick[] LinearTicks(double minimum, double maximum, double step)
    {
        long first = (long)Math.Ceiling(minimum / step - 1e-9), last = (long)Math.Floor(maximum / step + 1e-9);
        double largest = Math.Max(Math.Abs(minimum), Math.Abs(maximum));
        return [.. Enumerable.Range(0, (int)(last - first + 1)).Select(i => new PlotTick((first + i) * step, Text((first + i) * step, largest, step)))];
    }

    // Plain numbers with as many decimals as the step needs; powers of ten where all of them would be long.
    private static string Text(double value, double largest, double step)
    {
        if (value == 0) return "0";
        int last = (int)Math.Floor(Math.Log10(step) + 1e-9), first = (int)Math.Floor(Math.Log10(largest) + 1e-9);
        return first is >= 6 or < -4
            ? value.ToString($"0.{new string('#', Math.Max(first - last, 0))}e0", CultureInfo.InvariantCulture)
            : value.ToString($"F{Math.Max(-last, 0)}", CultureInfo.InvariantCulture);
    }
}

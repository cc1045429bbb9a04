namespace LowBitDiffusion.Cli.Output;

/// <summary>A row of numbers as a row of characters.</summary>
internal static class Sparkline
{
    private const string Levels = "▁▂▃▄▅▆▇█";

    /// <summary>Draws positive numbers on a logarithmic scale, smallest at the bottom and largest at the top; more than <paramref name="width"/> are thinned out.</summary>
    public static string Draw(ReadOnlySpan<float> values, int width = 20)
    {
        if (values.Length == 0) return "";
        int count = Math.Min(width, values.Length);
        Span<double> logarithms = stackalloc double[count];
        for (int i = 0; i < count; i++) logarithms[i] = Math.Log(values[count == 1 ? 0 : (int)((long)i * (values.Length - 1) / (count - 1))]);
        double low = double.MaxValue, high = double.MinValue;
        foreach (double value in logarithms) (low, high) = (Math.Min(low, value), Math.Max(high, value));
        char[] text = new char[count];
        for (int i = 0; i < count; i++) text[i] = Levels[high > low ? (int)Math.Round((logarithms[i] - low) / (high - low) * (Levels.Length - 1)) : Levels.Length / 2];
        return new string(text);
    }
}

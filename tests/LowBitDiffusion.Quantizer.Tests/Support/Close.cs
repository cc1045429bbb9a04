namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>Comparisons that say where two arrays differ.</summary>
internal static class Close
{
    public static void Absolute(ReadOnlySpan<float> actual, ReadOnlySpan<float> expected, double tolerance, string what)
    {
        Assert.That(actual.Length, Is.EqualTo(expected.Length), $"{what}: length");
        int worst = 0;
        double largest = 0;
        for (int i = 0; i < actual.Length; i++)
        {
            double error = Math.Abs((double)actual[i] - expected[i]);
            if (!(error <= largest)) (worst, largest) = (i, error);
        }

        if (actual.Length > 0) Assert.That(largest, Is.LessThanOrEqualTo(tolerance), $"{what}: element {worst} is {actual[worst]}, expected {expected[worst]}");
    }

    /// <summary>Tolerance relative to the largest expected magnitude.</summary>
    public static void RelativeToMax(ReadOnlySpan<float> actual, ReadOnlySpan<float> expected, double tolerance, string what)
    {
        double max = 0;
        foreach (float value in expected) max = Math.Max(max, Math.Abs(value));
        Absolute(actual, expected, tolerance * max, what);
    }
}

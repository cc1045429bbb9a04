namespace LowBitDiffusion.Verification;

/// <summary>How far a computed tensor is from the recorded one.</summary>
/// <param name="Name">Its name: <c>out.*</c> or <c>act.*</c>.</param>
/// <param name="MaxAbs">Largest absolute difference; infinite if the lengths differ or a value is not a number.</param>
/// <param name="MaxRel"><paramref name="MaxAbs"/> over the largest recorded magnitude.</param>
/// <param name="RelL2">L2 norm of the difference over that of the recorded tensor.</param>
/// <param name="MaxAbsTolerance">Largest <paramref name="MaxAbs"/> that passes.</param>
/// <param name="RelL2Tolerance">Largest <paramref name="RelL2"/> that passes; infinite where only the maximum counts.</param>
public sealed record GoldenComparison(string Name, double MaxAbs, double MaxRel, double RelL2, double MaxAbsTolerance, double RelL2Tolerance)
{
    // Of the tensor's largest magnitude, for activations and for outputs without a stated tolerance.
    private const double DefaultMaxAbs = 1e-4;

    /// <summary>Whether both differences are within tolerance.</summary>
    public bool Passed => MaxAbs <= MaxAbsTolerance && RelL2 <= RelL2Tolerance;

    /// <summary>Compares two tensors.</summary>
    /// <param name="name">Name.</param>
    /// <param name="expected">Recorded.</param>
    /// <param name="found">Computed.</param>
    /// <param name="maxAbsTolerance">Tolerance of the maximum; null for 1e-4 of the largest recorded magnitude.</param>
    /// <param name="relL2Tolerance">Tolerance of the relative L2 error; null for none.</param>
    public static GoldenComparison Of(string name, ReadOnlySpan<float> expected, ReadOnlySpan<float> found, double? maxAbsTolerance, double? relL2Tolerance)
    {
        double maxAbs = expected.Length == found.Length ? 0 : double.PositiveInfinity, largest = 0, error = 0, norm = 0;
        for (int i = 0; i < Math.Min(expected.Length, found.Length); i++)
        {
            double difference = Math.Abs((double)found[i] - expected[i]);
            maxAbs = Math.Max(maxAbs, double.IsNaN(difference) ? double.PositiveInfinity : difference);
            largest = Math.Max(largest, Math.Abs(expected[i]));
            error += difference * difference;
            norm += (double)expected[i] * expected[i];
        }

        double relL2 = !double.IsFinite(maxAbs) ? double.PositiveInfinity : error == 0 ? 0 : Math.Sqrt(error / norm);
        double maxRel = maxAbs == 0 ? 0 : maxAbs / largest;
        return new GoldenComparison(name, maxAbs, maxRel, relL2, maxAbsTolerance ?? DefaultMaxAbs * largest, relL2Tolerance ?? double.PositiveInfinity);
    }

    /// <inheritdoc/>
    public override string ToString() => FormattableString.Invariant($"{Name}: max abs {MaxAbs:G3} (tolerance {MaxAbsTolerance:G3}), max rel {MaxRel:G3}, rel L2 {RelL2:G3} (tolerance {RelL2Tolerance:G3})");
}

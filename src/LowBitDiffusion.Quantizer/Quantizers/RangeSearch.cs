using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>Outcome of a range search.</summary>
/// <typeparam name="TQuantizer">The kind of quantizer.</typeparam>
/// <param name="Quantizer">The best quantizer.</param>
/// <param name="Shrink">Which candidate it is, from 0: the range times <c>1 − 0.01·Shrink</c>.</param>
/// <param name="Score">Its <c>mean |x − xhat|^2.4</c>.</param>
public readonly record struct RangeSearchResult<TQuantizer>(TQuantizer Quantizer, int Shrink, double Score);

/// <summary>
/// The scale initialisation that BRECQ and its successors (Q-Diffusion, TFMQ-DM, EfficientDM) call "mse": the range from minimum to maximum is shrunk in
/// 80 steps of one percent and the first candidate with the lowest <c>mean |x − xhat|^2.4</c> wins. Unlike there, the range always contains zero.
/// </summary>
public static class RangeSearch
{
    /// <summary>Candidates tried.</summary>
    public const int Shrinks = 80;

    /// <summary>Power of the error.</summary>
    public const double Exponent = 2.4;

    /// <summary>Searches the affine quantizer of some values.</summary>
    /// <param name="values">The values; none give the quantizer of an empty range.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">A value is not finite or the bits are out of range.</exception>
    public static RangeSearchResult<AffineQuantizer> Affine(ReadOnlySpan<float> values, int bits)
    {
        ValueRange range = ValueRange.Of(values);
        RangeSearchResult<AffineQuantizer> best = new(default, -1, double.PositiveInfinity);
        for (int shrink = 0; shrink < Shrinks; shrink++)
        {
            AffineQuantizer candidate = Candidate(range, shrink, bits);
            double score = Score(values, candidate.Scale, -candidate.ZeroPoint, candidate.MaxCode - candidate.ZeroPoint);
            if (score < best.Score) best = new(candidate, shrink, score);
        }

        return best;
    }

    /// <summary>Searches the symmetric quantizer of some values.</summary>
    /// <param name="values">The values; none give the quantizer of an empty range.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">A value is not finite or the bits are out of range.</exception>
    public static RangeSearchResult<SymmetricQuantizer> Symmetric(ReadOnlySpan<float> values, int bits)
    {
        double magnitude = ValueRange.Of(values).Magnitude;
        RangeSearchResult<SymmetricQuantizer> best = new(default, -1, double.PositiveInfinity);
        for (int shrink = 0; shrink < Shrinks; shrink++)
        {
            SymmetricQuantizer candidate = SymmetricQuantizer.FromMagnitude(Factor(shrink) * magnitude, bits);
            double score = Score(values, candidate.Scale, -candidate.MaxCode, candidate.MaxCode);
            if (score < best.Score) best = new(candidate, shrink, score);
        }

        return best;
    }

    /// <summary>The quantizer of candidate <paramref name="shrink"/> for a range.</summary>
    internal static AffineQuantizer Candidate(ValueRange range, int shrink, int bits) =>
        AffineQuantizer.FromRange(Factor(shrink) * range.Min, Factor(shrink) * range.Max, bits);

    private static double Factor(int shrink) => 1 - 0.01 * shrink;

    // Eight lanes on every machine, emulated where need be, so that the sum has one order everywhere.
    private static double Score(ReadOnlySpan<float> values, float scale, int lowest, int highest)
    {
        if (values.IsEmpty) return 0;
        Vector256<double> sum = Vector256<double>.Zero;
        ReadOnlySpan<Vector256<float>> vectors = MemoryMarshal.Cast<float, Vector256<float>>(values);
        Vector256<float> step = Vector256.Create(scale), low = Vector256.Create((float)lowest), high = Vector256.Create((float)highest);
        foreach (Vector256<float> x in vectors) sum += PowerOfError(x, step, low, high);
        Span<float> rest = stackalloc float[Vector256<float>.Count];
        rest.Clear();
        values[(vectors.Length * Vector256<float>.Count)..].CopyTo(rest);
        sum += PowerOfError(Vector256.Create<float>(rest), step, low, high);
        return Vector256.Sum(sum) / values.Length;
    }

    private static Vector256<double> PowerOfError(Vector256<float> x, Vector256<float> step, Vector256<float> low, Vector256<float> high)
    {
        Vector256<float> code = Vector256.Min(Vector256.Max(Vector256.Round(x / step), low), high);
        Vector256<float> error = Vector256.Abs(x - code * step);
        // error^2.4; the logarithm of zero is −∞, whose exponential is zero again.
        Vector256<float> power = Vector256.Exp(Vector256.Log(error) * (float)Exponent);
        return Vector256.WidenLower(power) + Vector256.WidenUpper(power);
    }
}

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
/// <para>
/// Shrinking both ends alike leaves their ratio, and so one zero point for all steps. With few bits that is a trap: SiLU's negative lobe is 0.28 deep, and where one value lies beyond 8, four bits round
/// its zero point to 0 and all negative values become zero: 11 dB in layers where the next zero point gives 18. The grid therefore tries, for every step, zero points between those that cover the whole
/// of the one end and of the other.
/// <code>
/// values            ▁▆█▃▂▁▁▁▁▁▁▁ ▁   ▁        min … max
/// shrunk alike        [··|·····)              zero point round(−min/d) for every step
/// grid              [·|·······)  …  [···|···)
/// </code>
/// </para>
/// </summary>
public static class RangeSearch
{
    /// <summary>Candidates tried.</summary>
    public const int Shrinks = 80;

    /// <summary>Zero points of a grid for every step, at most.</summary>
    public const int GridPoints = 8;

    /// <summary>Power of the error.</summary>
    public const double Exponent = 2.4;

    /// <summary>Searches the affine quantizer of some values.</summary>
    /// <param name="values">The values; none give the quantizer of an empty range.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">A value is not finite or the bits are out of range.</exception>
    /// <param name="grid">Whether steps and zero points are tried independently.</param>
    public static RangeSearchResult<AffineQuantizer> Affine(ReadOnlySpan<float> values, int bits, bool grid = false) => Affine(ValueRange.Of(values), values, [], values.Length, bits, grid);

    /// <summary>The same for values of which each stands for many.</summary>
    /// <param name="range">The range that is shrunk.</param>
    /// <param name="values">The values.</param>
    /// <param name="weights">How many each stands for; empty for one.</param>
    /// <param name="total">How many all stand for.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <param name="grid">Whether steps and zero points are tried independently.</param>
    internal static RangeSearchResult<AffineQuantizer> Affine(ValueRange range, ReadOnlySpan<float> values, ReadOnlySpan<double> weights, double total, int bits, bool grid)
    {
        RangeSearchResult<AffineQuantizer> best = new(default, -1, double.PositiveInfinity);
        Span<int> zeroPoints = stackalloc int[GridPoints + 1];
        for (int shrink = 0; shrink < Shrinks; shrink++)
        {
            AffineQuantizer alike = AffineQuantizer.FromRange(Factor(shrink) * range.Min, Factor(shrink) * range.Max, bits);
            foreach (int zeroPoint in zeroPoints[..Candidates(alike, range, grid, zeroPoints)])
            {
                AffineQuantizer candidate = alike with { ZeroPoint = zeroPoint };
                double score = Score(values, weights, total, candidate.Scale, -zeroPoint, candidate.MaxCode - zeroPoint);
                if (score < best.Score) best = new(candidate, shrink, score);
            }
        }

        return best;
    }

    /// <summary>Zero points to try with a step: the one of the ends shrunk alike, and with a grid up to <see cref="GridPoints"/> from covering all of the upper end to covering all of the lower.</summary>
    private static int Candidates(AffineQuantizer alike, ValueRange range, bool grid, Span<int> zeroPoints)
    {
        int count = 0;
        zeroPoints[count++] = alike.ZeroPoint;
        if (!grid) return count;
        int last = alike.MaxCode;
        int lowest = (int)Math.Clamp(last - Math.Ceiling(range.Max / (double)alike.Scale), 0, last), highest = (int)Math.Clamp(Math.Ceiling(-range.Min / (double)alike.Scale), 0, last);
        int points = Math.Clamp(highest - lowest + 1, 1, GridPoints);
        for (int i = 0; i < points; i++)
        {
            int zeroPoint = points == 1 ? lowest : lowest + (int)Math.Round((double)i * (highest - lowest) / (points - 1));
            if (zeroPoint != alike.ZeroPoint) zeroPoints[count++] = zeroPoint;
        }

        return count;
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
            double score = Score(values, [], values.Length, candidate.Scale, -candidate.MaxCode, candidate.MaxCode);
            if (score < best.Score) best = new(candidate, shrink, score);
        }

        return best;
    }

    private static double Factor(int shrink) => 1 - 0.01 * shrink;

    // Eight lanes on every machine, emulated where need be, so that the sum has one order everywhere.
    private static double Score(ReadOnlySpan<float> values, ReadOnlySpan<double> weights, double total, float scale, int lowest, int highest)
    {
        if (values.IsEmpty) return 0;
        Vector256<double> sum = Vector256<double>.Zero;
        ReadOnlySpan<Vector256<float>> vectors = MemoryMarshal.Cast<float, Vector256<float>>(values);
        ReadOnlySpan<Vector256<double>> counts = MemoryMarshal.Cast<double, Vector256<double>>(weights);
        Vector256<float> step = Vector256.Create(scale), low = Vector256.Create((float)lowest), high = Vector256.Create((float)highest);
        for (int i = 0; i < vectors.Length; i++)
        {
            Vector256<float> power = PowerOfError(vectors[i], step, low, high);
            sum += weights.IsEmpty ? Vector256.WidenLower(power) + Vector256.WidenUpper(power) : Vector256.WidenLower(power) * counts[2 * i] + Vector256.WidenUpper(power) * counts[2 * i + 1];
        }

        double rest = 0;
        for (int i = vectors.Length * Vector256<float>.Count; i < values.Length; i++)
            rest += PowerOfError(Vector256.CreateScalar(values[i]), step, low, high)[0] * (weights.IsEmpty ? 1 : weights[i]);
        return (Vector256.Sum(sum) + rest) / total;
    }

    private static Vector256<float> PowerOfError(Vector256<float> x, Vector256<float> step, Vector256<float> low, Vector256<float> high)
    {
        Vector256<float> code = Vector256.Min(Vector256.Max(Vector256.Round(x / step), low), high);
        Vector256<float> error = Vector256.Abs(x - code * step);
        // error^2.4; the logarithm of zero is −∞, whose exponential is zero again.
        return Vector256.Exp(Vector256.Log(error) * (float)Exponent);
    }
}

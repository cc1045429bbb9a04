using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>
/// A histogram of all values, from which the range search is evaluated as if every value lay in the middle of its bin. Bins are <c>[i·w, (i+1)·w)</c> with a width
/// w that is a power of two; w is the smallest for which at most <see cref="MaxBins"/> bins cover the values seen and zero. Doubling w merges bins 2i and 2i + 1
/// exactly, so the histogram depends on the values alone, not on their order or on how they were divided into batches.
/// <code>
/// w = 1/4   |..|..|##|##|#.|..|        bins −2 … 3
/// w = 1/2   |.....|#####|#....|        bins −1 … 1
/// </code>
/// </summary>
/// <param name="grid">Whether the search tries steps and zero points independently.</param>
public sealed class HistogramObserver(bool grid = false) : RangeObserver
{
    /// <summary>Bins kept at most: at least eight for each step of an 8-bit quantizer.</summary>
    public const int MaxBins = 4096;

    // Clearing and adding up tables costs as much as counting some thousand values.
    private const int TableWorth = 1 << 14;

    // Values that differ by less are the same for every quantizer with a normal step.
    private const int LowestExponent = -120;

    private int _exponent = LowestExponent;
    private int _first;
    private long[] _counts = [];

    /// <summary>Width of a bin.</summary>
    public double BinWidth => Math.ScaleB(1, _exponent);

    /// <summary>Bins that are not empty: their middle and count, ascending.</summary>
    public IEnumerable<(double Middle, long Count)> Bins
    {
        get
        {
            double width = BinWidth;
            for (int i = 0; i < _counts.Length; i++)
            {
                if (_counts[i] > 0) yield return ((_first + i + 0.5) * width, _counts[i]);
            }
        }
    }

    /// <summary>The quantizer with the least <c>Σ count·|x − xhat|^2.4</c> over the bins' middles, found as in <see cref="RangeSearch"/>.</summary>
    /// <inheritdoc/>
    public override AffineQuantizer Quantizer(int bits) => Search(bits).Quantizer;

    /// <summary>The range search over the histogram.</summary>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    public RangeSearchResult<AffineQuantizer> Search(int bits)
    {
        (double Middle, long Count)[] bins = [.. Bins];
        return RangeSearch.Affine(Seen, Array.ConvertAll(bins, bin => (float)bin.Middle), Array.ConvertAll(bins, bin => (double)bin.Count), Math.Max(Count, 1), bits, grid);
    }

    /// <inheritdoc/>
    protected override void Add(ReadOnlySpan<float> values, ValueRange range)
    {
        Cover(Seen);
        // The reciprocal of a power of two is exact, so the product is the quotient.
        float inverse = (float)Math.ScaleB(1, -_exponent);
        int counted = values.Length < TableWorth ? 0 : CountInTables(values, inverse);
        foreach (float value in values[counted..]) _counts[(int)MathF.Floor(value * inverse) - _first]++;
    }

    // Neighbours tend to fall into one bin, where one increment would wait for the other: even and odd ones are counted apart, in tables that fit the first cache together.
    private int CountInTables(ReadOnlySpan<float> values, float inverse)
    {
        Span<int> even = stackalloc int[MaxBins], odd = stackalloc int[MaxBins], bins = stackalloc int[Vector256<int>.Count];
        even.Clear();
        odd.Clear();
        ReadOnlySpan<Vector256<float>> vectors = MemoryMarshal.Cast<float, Vector256<float>>(values);
        Vector256<int> first = Vector256.Create(_first);
        foreach (Vector256<float> vector in vectors)
        {
            (Vector256.ConvertToInt32Native(Vector256.Floor(vector * inverse)) - first).CopyTo(bins);
            for (int lane = 0; lane < bins.Length; lane += 2)
            {
                even[bins[lane]]++;
                odd[bins[lane + 1]]++;
            }
        }

        for (int i = 0; i < _counts.Length; i++) _counts[i] += even[i] + (long)odd[i];
        return vectors.Length * Vector256<float>.Count;
    }

    private void Cover(ValueRange range)
    {
        int exponent = _exponent;
        while (Last(exponent) - First(exponent) >= MaxBins) exponent++;
        int first = First(exponent), last = Last(exponent);
        if (exponent == _exponent && first == _first && last - first + 1 == _counts.Length) return;

        long[] counts = new long[last - first + 1];
        // An arithmetic shift divides a bin's index and rounds down: the bin that contains it. Shifts beyond 31 would wrap; none changes the result any more.
        int shift = Math.Min(exponent - _exponent, 31);
        for (int i = 0; i < _counts.Length; i++) counts[((_first + i) >> shift) - first] += _counts[i];
        (_exponent, _first, _counts) = (exponent, first, counts);

        double Bin(float value, int e) => Math.Floor(Math.ScaleB((double)value, -e));
        int First(int e) => (int)Math.Max(Bin(range.Min, e), int.MinValue / 4);
        int Last(int e) => (int)Math.Min(Bin(range.Max, e), int.MaxValue / 4);
    }
}

using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>How a range of values is chosen.</summary>
public enum RangeMethod
{
    /// <summary>From the smallest to the largest value.</summary>
    MinMax,
    /// <summary>Exponential moving average of each batch's smallest and largest value, decay 0.95 (weights: as <see cref="MinMax"/>).</summary>
    EmaMinMax,
    /// <summary>The shrunk range with the least error, both ends shrunk alike (<see cref="RangeSearch"/>).</summary>
    Mse,
    /// <summary>The step and zero point with the least error, each tried with others (<see cref="RangeSearch"/>; symmetric weights: as <see cref="Mse"/>).</summary>
    Grid,
}

/// <summary>How a weight is quantized.</summary>
/// <param name="Bits">Bits of a code, 2 to 8.</param>
/// <param name="Range">How each range is chosen.</param>
/// <param name="Symmetric">Signed codes without a zero point; required for 8 bits, where a centred asymmetric code would not fit in a signed byte.</param>
/// <param name="GroupSize">Consecutive elements of K that share a scale, a multiple of kh·kw that divides K; 0 for one scale per output channel.</param>
/// <param name="SplitChannel">First input channel of the second half of a split concatenation, whose halves get scales of their own; 0 for none. With groups it changes nothing here.</param>
public sealed record WeightQuantizerOptions(int Bits, RangeMethod Range = RangeMethod.Mse, bool Symmetric = false, int GroupSize = 0, int SplitChannel = 0)
{
    /// <summary>The project's choice for a width: symmetric for 8 bits, asymmetric below.</summary>
    public static WeightQuantizerOptions ForBits(int bits) => new(bits, Symmetric: bits == 8);
}

/// <summary>A weight in integers, in the layout of <see cref="LowBitDiffusion.Quantization.QuantizedModule"/>.</summary>
/// <param name="Codes">Centred codes <c>[N, K]</c>: the zero point is subtracted.</param>
/// <param name="Scales">Scales <c>[N, G]</c>.</param>
/// <param name="ZeroPoints">Zero points <c>[N, G]</c> of the stored unsigned codes, or null for a symmetric weight.</param>
public sealed record QuantizedWeight(sbyte[] Codes, float[] Scales, byte[]? ZeroPoints);

/// <summary>Rounds a float weight to integers: one quantizer per output channel and range of input channels.</summary>
public static class WeightQuantizer
{
    /// <summary>Quantizes a weight: <see cref="Search"/>, then <see cref="Round"/>.</summary>
    /// <inheritdoc cref="Search"/>
    public static QuantizedWeight Quantize(ReadOnlyMemory<float> weight, TensorShape shape, WeightQuantizerOptions options, CancellationToken cancellationToken = default)
    {
        (float[] scales, byte[]? zeroPoints) = Search(weight, shape, options, cancellationToken);
        return new QuantizedWeight(Round(weight, shape, options, scales, zeroPoints), scales, zeroPoints);
    }

    /// <summary>Finds a weight's quantizers. Output channels are worked on in parallel; the result does not depend on the number of threads.</summary>
    /// <param name="weight">Row-major, of <paramref name="shape"/>.</param>
    /// <param name="shape"><c>[out, in]</c> or <c>[out, in, kh, kw]</c>.</param>
    /// <param name="options">How.</param>
    /// <param name="cancellationToken">Checked between output channels.</param>
    /// <exception cref="ArgumentException">Weight, shape and options do not fit each other, or a weight is not finite; the message says which.</exception>
    public static (float[] Scales, byte[]? ZeroPoints) Search(ReadOnlyMemory<float> weight, TensorShape shape, WeightQuantizerOptions options, CancellationToken cancellationToken = default)
    {
        (int start, int count)[] ranges = Ranges(shape, options);
        if (weight.Length != shape.Elements) throw new ArgumentException($"a weight of shape {shape} has {shape.Elements} elements, found {weight.Length}");
        int rows = shape[0], depth = (int)(shape.Elements / rows);
        float[] scales = new float[rows * ranges.Length];
        byte[]? zeroPoints = options.Symmetric ? null : new byte[scales.Length];
        bool searched = options.Range is RangeMethod.Mse or RangeMethod.Grid;

        // A NaN must surface as one error, not as an AggregateException of several.
        for (int row = 0; row < rows; row++)
        {
            ValueRange range = ValueRange.Of(weight.Span.Slice(row * depth, depth));
            if (!float.IsFinite(range.Min) || !float.IsFinite(range.Max)) throw new ArgumentException($"output channel {row} of the weight holds a value that is not finite");
        }

        Parallel.For(0, rows, new ParallelOptions { CancellationToken = cancellationToken }, row =>
        {
            for (int g = 0; g < ranges.Length; g++)
            {
                int offset = row * depth + ranges[g].start, entry = row * ranges.Length + g;
                ReadOnlySpan<float> values = weight.Span.Slice(offset, ranges[g].count);
                if (zeroPoints is null)
                {
                    scales[entry] = searched
                        ? RangeSearch.Symmetric(values, options.Bits).Quantizer.Scale
                        : SymmetricQuantizer.FromMagnitude(ValueRange.Of(values).Magnitude, options.Bits).Scale;
                }
                else
                {
                    ValueRange range = ValueRange.Of(values);
                    AffineQuantizer quantizer = searched
                        ? RangeSearch.Affine(values, options.Bits, options.Range == RangeMethod.Grid).Quantizer
                        : AffineQuantizer.FromRange(range.Min, range.Max, options.Bits);
                    (scales[entry], zeroPoints[entry]) = (quantizer.Scale, (byte)quantizer.ZeroPoint);
                }
            }
        });
        return (scales, zeroPoints);
    }

    /// <summary>Rounds a weight with the quantizers that <see cref="Search"/> has found.</summary>
    /// <param name="weight">Row-major, of <paramref name="shape"/>.</param>
    /// <param name="shape"><c>[out, in]</c> or <c>[out, in, kh, kw]</c>.</param>
    /// <param name="options">As given to <see cref="Search"/>.</param>
    /// <param name="scales">Scales <c>[N, G]</c>.</param>
    /// <param name="zeroPoints">Zero points <c>[N, G]</c>, or null.</param>
    /// <returns>Centred codes <c>[N, K]</c>.</returns>
    public static sbyte[] Round(ReadOnlyMemory<float> weight, TensorShape shape, WeightQuantizerOptions options, float[] scales, byte[]? zeroPoints)
    {
        (int start, int count)[] ranges = Ranges(shape, options);
        int rows = shape[0], depth = (int)(shape.Elements / rows);
        sbyte[] codes = new sbyte[weight.Length];
        Parallel.For(0, rows, row =>
        {
            for (int g = 0; g < ranges.Length; g++)
            {
                int offset = row * depth + ranges[g].start, entry = row * ranges.Length + g;
                ReadOnlySpan<float> values = weight.Span.Slice(offset, ranges[g].count);
                Span<sbyte> target = codes.AsSpan(offset, ranges[g].count);
                if (zeroPoints is null)
                {
                    SymmetricQuantizer quantizer = new(scales[entry], options.Bits);
                    for (int i = 0; i < values.Length; i++) target[i] = (sbyte)quantizer.Quantize(values[i]);
                }
                else
                {
                    AffineQuantizer quantizer = new(scales[entry], zeroPoints[entry], options.Bits);
                    for (int i = 0; i < values.Length; i++) target[i] = (sbyte)(quantizer.Quantize(values[i]) - quantizer.ZeroPoint);
                }
            }
        });
        return codes;
    }

    /// <summary>The float weight that the integers stand for, <c>[N, K]</c>.</summary>
    /// <param name="weight">The integers.</param>
    /// <param name="shape">Shape of the float weight.</param>
    /// <param name="options">As given to <see cref="Quantize"/>.</param>
    public static float[] Dequantize(QuantizedWeight weight, TensorShape shape, WeightQuantizerOptions options)
    {
        (int start, int count)[] ranges = Ranges(shape, options);
        int rows = shape[0], depth = (int)(shape.Elements / rows);
        float[] values = new float[weight.Codes.Length];
        for (int row = 0; row < rows; row++)
        {
            for (int g = 0; g < ranges.Length; g++)
            {
                float scale = weight.Scales[row * ranges.Length + g];
                int offset = row * depth + ranges[g].start;
                for (int i = offset; i < offset + ranges[g].count; i++) values[i] = scale * weight.Codes[i];
            }
        }

        return values;
    }

    // The parts of K that share a scale, in the order of the scales' columns.
    internal static (int Start, int Count)[] Ranges(TensorShape shape, WeightQuantizerOptions options)
    {
        Codes.RequireBits(options.Bits);
        if (options is { Bits: 8, Symmetric: false }) throw new ArgumentException("8-bit weights must be symmetric: centred asymmetric codes do not fit in a signed byte");
        int channels = shape[1], taps = shape.Rank == 4 ? shape[2] * shape[3] : 1, depth = channels * taps;
        if (options.SplitChannel < 0 || options.SplitChannel >= channels) throw new ArgumentException($"the split channel must be within the {channels} input channels, found {options.SplitChannel}");
        if (options.GroupSize != 0)
        {
            if (options.GroupSize < 0 || options.GroupSize % taps != 0 || depth % options.GroupSize != 0)
                throw new ArgumentException($"a group must be a multiple of {taps} that divides {depth}, found {options.GroupSize}");
            return [.. Enumerable.Range(0, depth / options.GroupSize).Select(g => (g * options.GroupSize, options.GroupSize))];
        }

        int split = options.SplitChannel * taps;
        return split == 0 ? [(0, depth)] : [(0, split), (split, depth - split)];
    }
}

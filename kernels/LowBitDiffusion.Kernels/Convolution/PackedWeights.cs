using System.Numerics;
using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>Weights in the layout of the kernel that packed them, in native memory. Not to be disposed while a kernel runs over them.</summary>
public sealed unsafe class PackedWeights : IDisposable
{
    private readonly NativeBuffer _memory;

    internal PackedWeights(
        QuantizedConvKernel kernel, ReadOnlySpan<sbyte> codes, in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, ReadOnlySpan<float> weightScales)
    {
        long expected = (long)shape.OutChannels * shape.Depth;
        if (codes.Length != expected) throw new ArgumentException($"{codes.Length} codes for a weight of shape {shape}, expected {expected}", nameof(codes));

        Kernel = kernel;
        Shape = shape;
        KernelSegment[] ranges = segments.IsEmpty ? [new KernelSegment(0, shape.InChannels)] : segments.ToArray();
        sbyte[] lowest = Ranges(codes, shape, ranges, out int maxMagnitude, out bool nibbles);
        Plan = new PackedPlan(shape, ranges, kernel.PanelWidth, nibbles);
        MaxMagnitude = maxMagnitude;
        if (weightScales.Length != ranges.Length * shape.OutChannels)
        {
            throw new ArgumentException($"{weightScales.Length} scales, expected {ranges.Length} segments × {shape.OutChannels} channels", nameof(weightScales));
        }

        _memory = new NativeBuffer(Plan.TotalBytes);
        using NativeBuffer rows = new((nuint)kernel.PanelWidth * (nuint)Plan.Groups * 4);
        for (int panel = 0; panel < Plan.Panels; panel++) PackPanel(codes, panel, lowest, (sbyte*)rows.Pointer);
        for (int s = 0; s < ranges.Length; s++)
        {
            weightScales.Slice(s * shape.OutChannels, shape.OutChannels).CopyTo(new Span<float>(Scales(s), shape.OutChannels));
        }
    }

    /// <summary>Shape of the weight.</summary>
    public ConvWeightShape Shape { get; }

    /// <summary>Ranges of input channels that have scales of their own.</summary>
    public IReadOnlyList<KernelSegment> Segments => Plan.Ranges;

    /// <summary>Whether two codes share a byte.</summary>
    public bool FourBit => Plan.Nibbles;

    /// <summary>Bytes of native memory.</summary>
    public nuint SizeInBytes => _memory.Length;

    internal QuantizedConvKernel Kernel { get; }

    internal PackedPlan Plan { get; }

    /// <summary>Largest magnitude of a code; small codes allow shorter intermediate sums.</summary>
    internal int MaxMagnitude { get; }

    /// <summary>Frees the memory; a second call does nothing.</summary>
    public void Dispose() => _memory.Dispose();

    /// <summary>Codes of a segment in a panel.</summary>
    internal byte* Codes(int panel, int segment) =>
        _memory.Pointer + (panel * Plan.PanelBytes) + (Plan.PanelBytes / Plan.Groups * Plan.Segments[segment].FirstGroup);

    /// <summary>Σ w of each output channel over a segment, zero behind the last channel.</summary>
    internal int* WeightSums(int segment) => (int*)(_memory.Pointer + Plan.SumsOffset) + ((nint)segment * Plan.PaddedChannels);

    /// <summary>Weight scales of a segment, zero behind the last channel.</summary>
    internal float* Scales(int segment) => (float*)(_memory.Pointer + Plan.ScalesOffset) + ((nint)segment * Plan.PaddedChannels);

    /// <summary>Lowest code of each output channel over a segment, 0 or below; only where two codes share a byte.</summary>
    internal sbyte* Lowest(int segment) => (sbyte*)(_memory.Pointer + Plan.LowestOffset) + ((nint)segment * Plan.PaddedChannels);

    /// <summary>Lowest code <c>[segments][out]</c>, and whether all of every channel and segment are within 15 of it. 0 always counts: it fills up groups.</summary>
    private static sbyte[] Ranges(ReadOnlySpan<sbyte> codes, in ConvWeightShape shape, KernelSegment[] segments, out int maxMagnitude, out bool nibbles)
    {
        sbyte[] lowest = new sbyte[segments.Length * shape.OutChannels];
        (maxMagnitude, nibbles) = (0, true);
        for (int o = 0; o < shape.OutChannels; o++)
        {
            ReadOnlySpan<sbyte> channel = codes.Slice(o * shape.Depth, shape.Depth);
            for (int s = 0; s < segments.Length; s++)
            {
                // Segments are checked by the plan; one that is wrong holds nothing here.
                int start = Math.Clamp(segments[s].Start, 0, shape.InChannels) * shape.Taps, end = Math.Clamp(segments[s].Start + segments[s].Count, 0, shape.InChannels) * shape.Taps;
                (int smallest, int largest) = Range(channel[start..Math.Max(start, end)]);
                if (smallest < -127) throw new ArgumentException("a code is −128, the smallest is −127", nameof(codes));
                lowest[(s * shape.OutChannels) + o] = (sbyte)smallest;
                nibbles &= largest - smallest <= 15;
                maxMagnitude = Math.Max(maxMagnitude, Math.Max(-smallest, largest));
            }
        }

        return lowest;
    }

    /// <summary>The range of codes and 0.</summary>
    private static (int Smallest, int Largest) Range(ReadOnlySpan<sbyte> codes)
    {
        Vector<sbyte> smallest = Vector<sbyte>.Zero, largest = Vector<sbyte>.Zero;
        ReadOnlySpan<Vector<sbyte>> vectors = MemoryMarshal.Cast<sbyte, Vector<sbyte>>(codes);
        foreach (Vector<sbyte> vector in vectors)
        {
            smallest = Vector.Min(smallest, vector);
            largest = Vector.Max(largest, vector);
        }

        (int low, int high) = (0, 0);
        for (int i = 0; i < Vector<sbyte>.Count; i++) (low, high) = (Math.Min(low, smallest[i]), Math.Max(high, largest[i]));
        foreach (sbyte code in codes[(vectors.Length * Vector<sbyte>.Count)..]) (low, high) = (Math.Min(low, code), Math.Max(high, code));
        return (low, high);
    }

    /// <summary>
    /// Output channels become rows in the order in which K is walked; then the panel is those rows turned over, four codes at a time.
    /// <code>
    ///   codes [channel][position]  →  rows [P][K/4][4], groups filled up with 0  →  distances from the lowest, two rows a byte  →  panel [K/4][P or P/2][4]
    /// </code>
    /// </summary>
    private void PackPanel(ReadOnlySpan<sbyte> codes, int panel, sbyte[] lowest, sbyte* rows)
    {
        int width = Kernel.PanelWidth, length = Plan.Groups * 4, first = panel * width;
        new Span<sbyte>(rows, width * length).Clear();
        for (int o = first; o < Math.Min(first + width, Shape.OutChannels); o++)
        {
            sbyte* row = rows + ((nint)(o - first) * length);
            Order(codes.Slice(o * Shape.Depth, Shape.Depth), row);
            for (int s = 0; s < Plan.Segments.Length; s++)
            {
                SegmentPlan plan = Plan.Segments[s];
                Span<sbyte> segment = new(row + (plan.FirstGroup * 4), Shape.Taps * plan.Groups * 4);
                WeightSums(s)[o] = Sum(segment);
                if (!Plan.Nibbles) continue;
                sbyte least = lowest[(s * Shape.OutChannels) + o];
                Lowest(s)[o] = least;
                Subtract(segment, least);
            }
        }

        int lanes = Plan.Nibbles ? width / 2 : width;
        if (Plan.Nibbles)
        {
            uint* low = (uint*)rows, high = (uint*)(rows + ((nint)lanes * length));
            for (nint i = 0; i < (nint)lanes * Plan.Groups; i++) low[i] |= high[i] << 4;
        }

        Matrices.Transpose((float*)rows, Plan.Groups, lanes, Plan.Groups, (float*)Codes(panel, 0), lanes);
    }

    /// <summary>One output channel's codes, pixel after pixel; what fills up the last group of a pixel stays as it is.</summary>
    private void Order(ReadOnlySpan<sbyte> filter, sbyte* row)
    {
        int taps = Shape.Taps;
        fixed (sbyte* source = filter)
        {
            for (int s = 0; s < Plan.Segments.Length; s++)
            {
                SegmentPlan plan = Plan.Segments[s];
                (int start, int count) = Plan.Ranges[s];
                for (int tap = 0; tap < taps; tap++)
                {
                    sbyte* to = row + (((nint)plan.FirstGroup + ((nint)tap * plan.Groups)) * 4), from = source + ((nint)start * taps) + tap;
                    if (taps == 1) new Span<sbyte>(from, count).CopyTo(new Span<sbyte>(to, count));
                    else for (nint c = 0; c < count; c++) to[c] = from[c * taps];
                }
            }
        }
    }

    private static int Sum(ReadOnlySpan<sbyte> codes)
    {
        // Sums of so many pairs of codes fit 16 bits.
        const int Most = 128;
        int sum = 0;
        while (codes.Length >= Vector<sbyte>.Count)
        {
            int vectors = Math.Min(codes.Length / Vector<sbyte>.Count, Most);
            Vector<short> part = Vector<short>.Zero;
            foreach (Vector<sbyte> vector in MemoryMarshal.Cast<sbyte, Vector<sbyte>>(codes[..(vectors * Vector<sbyte>.Count)]))
            {
                Vector.Widen(vector, out Vector<short> lower, out Vector<short> upper);
                part += lower + upper;
            }

            Vector.Widen(part, out Vector<int> left, out Vector<int> right);
            sum += Vector.Sum(left + right);
            codes = codes[(vectors * Vector<sbyte>.Count)..];
        }

        foreach (sbyte code in codes) sum += code;
        return sum;
    }

    private static void Subtract(Span<sbyte> codes, sbyte least)
    {
        foreach (ref Vector<sbyte> vector in MemoryMarshal.Cast<sbyte, Vector<sbyte>>(codes)) vector -= new Vector<sbyte>(least);
        foreach (ref sbyte code in codes[(codes.Length / Vector<sbyte>.Count * Vector<sbyte>.Count)..]) code -= least;
    }
}

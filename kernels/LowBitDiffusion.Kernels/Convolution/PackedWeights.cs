using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Memory;

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
        using NativeBuffer ordered = new((nuint)shape.Depth);
        for (int o = 0; o < shape.OutChannels; o++)
        {
            OrderByPosition(codes.Slice(o * shape.Depth, shape.Depth), shape.Taps, new Span<sbyte>(ordered.Pointer, shape.Depth));
            for (int s = 0; s < ranges.Length; s++)
            {
                sbyte first = nibbles ? lowest[(s * shape.OutChannels) + o] : (sbyte)0;
                if (nibbles) Lowest(s)[o] = first;
                WeightSums(s)[o] = PackChannel((sbyte*)ordered.Pointer, s, o, first);
            }
        }

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

    /// <summary>[channel][position] → [position][channel], the order in which the input lies.</summary>
    private static void OrderByPosition(ReadOnlySpan<sbyte> filter, int taps, Span<sbyte> ordered)
    {
        int channels = filter.Length / taps;
        for (int tap = 0; tap < taps; tap++)
        {
            Span<sbyte> target = ordered.Slice(tap * channels, channels);
            for (int c = 0, i = tap; c < target.Length; c++, i += taps) target[c] = filter[i];
        }
    }

    /// <summary>
    /// Spreads one output channel's codes of a segment over its panel, four at a time, as distances from <paramref name="lowest"/> (0: as they are), and returns
    /// their sum.
    /// </summary>
    private int PackChannel(sbyte* ordered, int segment, int channel, int lowest)
    {
        const uint Signs = 0x80808080;
        SegmentPlan plan = Plan.Segments[segment];
        int panelWidth = Kernel.PanelWidth, lanes = Plan.Nibbles ? panelWidth / 2 : panelWidth;
        int column = channel % panelWidth;
        uint offset = (uint)-lowest * 0x01010101u, kept = Plan.Nibbles ? 0x0F0F0F0Fu : uint.MaxValue;
        int shift = column >= lanes ? 4 : 0;
        uint* target = (uint*)Codes(channel / panelWidth, segment) + (column % lanes);
        int sum = 0;
        for (int row = 0; row < Shape.KernelHeight; row++)
        {
            for (int run = 0; run < plan.Columns; run++)
            {
                sbyte* codes = ordered + ((((nint)row * Shape.KernelWidth) + run) * Shape.InChannels) + plan.Start;
                for (int j = 0; j < plan.Length; j += 4, target += lanes)
                {
                    // Reading over the end is safe (the buffer has slack) and what was read there is dropped: a group is filled up with zero weights.
                    uint group = Unsafe.ReadUnaligned<uint>(codes + j);
                    if (plan.Length - j < 4) group &= (1u << (8 * (plan.Length - j))) - 1;
                    // Four additions of bytes at once: the sign bits apart, so that nothing carries into the next byte.
                    group = ((group & ~Signs) + (offset & ~Signs)) ^ ((group ^ offset) & Signs);
                    *target |= (group & kept) << shift;
                }

                for (int j = 0; j < plan.Length; j++) sum += codes[j];
            }
        }

        return sum;
    }
}

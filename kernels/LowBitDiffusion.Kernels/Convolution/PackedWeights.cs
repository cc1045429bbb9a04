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
        (int smallest, int largest) = Range(codes);
        if (smallest < -127) throw new ArgumentException("a code is −128, the smallest is −127", nameof(codes));

        Kernel = kernel;
        Shape = shape;
        Plan = new PackedPlan(shape, segments, kernel.Layout, smallest >= -8 && largest <= 7);
        MaxMagnitude = Math.Max(-smallest, largest);
        int count = Plan.Segments.Length;
        if (weightScales.Length != count * shape.OutChannels)
        {
            throw new ArgumentException($"{weightScales.Length} scales, expected {count} segments × {shape.OutChannels} channels", nameof(weightScales));
        }

        _memory = new NativeBuffer(Plan.TotalBytes);
        fixed (sbyte* source = codes)
        {
            for (int s = 0; s < count; s++)
            {
                for (int o = 0; o < shape.OutChannels; o++) WeightSums(s)[o] = PackChannel(source, s, o, kernel.Layout.PanelWidth);
                weightScales.Slice(s * shape.OutChannels, shape.OutChannels).CopyTo(new Span<float>(Scales(s), shape.OutChannels));
            }
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

    private static (int Smallest, int Largest) Range(ReadOnlySpan<sbyte> codes)
    {
        int smallest = 0, largest = 0;
        foreach (sbyte code in codes)
        {
            smallest = Math.Min(smallest, code);
            largest = Math.Max(largest, code);
        }

        return (smallest, largest);
    }

    /// <summary>Spreads one output channel's codes of a segment over its panel and returns their sum.</summary>
    private int PackChannel(sbyte* source, int segment, int channel, int panelWidth)
    {
        SegmentPlan plan = Plan.Segments[segment];
        int lanes = Plan.Nibbles ? panelWidth / 2 : panelWidth;
        int column = channel % panelWidth;
        int shift = Plan.Nibbles && column >= lanes ? 4 : 0;
        byte* target = Codes(channel / panelWidth, segment) + (column % lanes * 4);
        sbyte* filter = source + ((nint)channel * Shape.Depth);
        int sum = 0;
        for (int row = 0; row < Shape.KernelHeight; row++)
        {
            for (int run = 0; run < plan.Columns; run++)
            {
                for (int j = 0, c = 0, x = run; j < plan.Length; j++)
                {
                    int code = filter[((((nint)plan.Start + c) * Shape.KernelHeight) + row) * Shape.KernelWidth + x];
                    byte* group = target + ((nint)(j / 4) * lanes * 4);
                    group[j % 4] |= Plan.Nibbles ? (byte)((code & 15) << shift) : (byte)code;
                    sum += code;
                    if (++c == Plan.Ranges[segment].Count) (c, x) = (0, x + 1);
                }

                target += (nint)plan.Groups * lanes * 4;
            }
        }

        return sum;
    }
}

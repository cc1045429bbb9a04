namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// One segment as a kernel walks it: for each pixel under the kernel (<see cref="ConvWalk"/>), <see cref="Length"/> consecutive input bytes.
/// </summary>
internal readonly struct SegmentPlan(int start, int length, int firstGroup)
{
    /// <summary>First channel: offset from the pixel.</summary>
    public readonly int Start = start;

    /// <summary>Bytes of a pixel.</summary>
    public readonly int Length = length;

    /// <summary>Groups of four bytes of a pixel, the last filled up with zero weights.</summary>
    public readonly int Groups = (length + 3) / 4;

    /// <summary>Groups of the panel before this segment.</summary>
    public readonly int FirstGroup = firstGroup;
}

/// <summary>
/// Where everything lies in packed weights. With panels of P output channels, K running over segments, kernel rows, kernel columns and groups of four:
/// <code>
///   codes         sbyte [N/P][K/4][P][4]               one byte a code
///             or  byte  [N/P][K/4][P/2][4]             nibbles: low half channel c, high half channel c + P/2
///   weight sums   int   [segments][N rounded up to P]
///   scales        float [segments][N rounded up to P]
///   lowest codes  sbyte [segments][N rounded up to P]  nibbles: w = lowest + nibble
/// </code>
/// Codes of up to four bits lie within 15 of each other in every channel and segment, with or without a zero point, and so always fit nibbles.
/// </summary>
internal sealed class PackedPlan
{
    internal PackedPlan(in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, int panelWidth, bool nibbles)
    {
        if (shape.OutChannels < 1 || shape.InChannels < 1 || shape.Taps < 1) throw new ArgumentException($"a weight of shape {shape}");
        KernelSegment[] ranges = segments.IsEmpty ? [new KernelSegment(0, shape.InChannels)] : segments.ToArray();
        Segments = new SegmentPlan[ranges.Length];
        int channel = 0, group = 0;
        for (int s = 0; s < ranges.Length; s++)
        {
            (int start, int count) = ranges[s];
            if (start != channel || count < 1) throw new ArgumentException($"segment {s} is {ranges[s]}, it must start at channel {channel} and hold one or more");
            if ((long)count * shape.Taps > QuantizedConvKernel.MaxDepth)
            {
                throw new ArgumentException($"segment {s} sums {(long)count * shape.Taps} terms, more than {QuantizedConvKernel.MaxDepth} may overflow");
            }

            Segments[s] = new SegmentPlan(start, count, group);
            channel = checked(start + count);
            group += shape.Taps * Segments[s].Groups;
        }

        if (channel != shape.InChannels) throw new ArgumentException($"the segments hold {channel} of {shape.InChannels} input channels");
        Ranges = ranges;
        Groups = group;
        Nibbles = nibbles;
        JoinsPixels = ranges.Length == 1 && shape.InChannels % 4 == 0;
        Panels = (shape.OutChannels + panelWidth - 1) / panelWidth;
        PaddedChannels = Panels * panelWidth;
        PanelBytes = (nint)group * panelWidth * 4 / (Nibbles ? 2 : 1);
        SumsOffset = Align((nuint)Panels * (nuint)PanelBytes);
        ScalesOffset = Align(SumsOffset + ((nuint)ranges.Length * (nuint)PaddedChannels * sizeof(int)));
        LowestOffset = ScalesOffset + ((nuint)ranges.Length * (nuint)PaddedChannels * sizeof(float));
        TotalBytes = LowestOffset + (nibbles ? (nuint)ranges.Length * (nuint)PaddedChannels : 0);
    }

    internal KernelSegment[] Ranges { get; }

    /// <summary>The segments in order.</summary>
    internal SegmentPlan[] Segments { get; }

    /// <summary>Groups of four of a whole panel.</summary>
    internal int Groups { get; }

    internal bool Nibbles { get; }

    /// <summary>Whether the groups of a pixel end where those of the pixel behind it in memory begin, so that both are one run.</summary>
    internal bool JoinsPixels { get; }

    internal int Panels { get; }

    internal int PaddedChannels { get; }

    internal nint PanelBytes { get; }

    internal nuint SumsOffset { get; }

    internal nuint ScalesOffset { get; }

    internal nuint LowestOffset { get; }

    internal nuint TotalBytes { get; }

    private static nuint Align(nuint bytes) => (bytes + 63) & ~(nuint)63;
}

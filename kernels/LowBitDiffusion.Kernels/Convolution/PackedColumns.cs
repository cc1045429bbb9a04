namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// Integer weights as the kernels of devices read them, one layout for all tiles:
/// <code>
///   codes          [words of K][columns]               four in a 32-bit word, or in 16 bits as nibbles w − lowest
///   sums, scales   [segments][columns]                 columns: output channels, filled up to a multiple of 64
///   bases          [segments][columns]                 nibbles: lowest + 128 in each byte of a word
/// </code>
/// Codes of up to four bits and their zero lie within 15 of each other in every channel and segment, and so fit nibbles.
/// K runs over segments, kernel rows, kernel columns and words of a pixel, of which the last is filled up with zeros (<see cref="WordWalk"/>).
/// </summary>
internal sealed class PackedColumns
{
    /// <summary>Columns are filled up to a multiple of this.</summary>
    internal const int Multiple = 64;

    /// <summary>Packs weights.</summary>
    /// <param name="codes">Centred codes <c>[out, in, rows, columns]</c>, −127 … 127.</param>
    /// <param name="shape">Their shape.</param>
    /// <param name="segments">Ranges of input channels; empty for one that holds all.</param>
    /// <param name="weightScales">Scales <c>[segments][out]</c>.</param>
    internal PackedColumns(ReadOnlySpan<sbyte> codes, in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, ReadOnlySpan<float> weightScales)
    {
        PackedPlan bytes = PlanOf(shape, segments, fourBit: false);
        int columns = bytes.PaddedChannels, count = bytes.Segments.Length;
        int[] lowest = new int[count * columns];
        Plan = FindLowest(codes, shape, bytes, lowest) ? PlanOf(shape, segments, fourBit: true) : bytes;
        Words = new uint[Plan.Groups * columns];
        Sums = new int[count * columns];
        Scales = new float[count * columns];
        for (int s = 0; s < count; s++) weightScales.Slice(s * shape.OutChannels, shape.OutChannels).CopyTo(Scales.AsSpan(s * columns));
        for (int o = 0; o < shape.OutChannels; o++) PackChannel(codes.Slice(o * shape.Depth, shape.Depth), shape, o);
        if (!Plan.Nibbles) return;
        Nibbles = ToNibbles(lowest);
        Bases = Array.ConvertAll(lowest, low => (uint)(low + 128) * 0x01010101u);
    }

    /// <summary>Segments, and how many words and columns there are.</summary>
    internal PackedPlan Plan { get; }

    /// <summary>Codes as bytes.</summary>
    internal uint[] Words { get; }

    /// <summary>Codes as nibbles, where they fit.</summary>
    internal ushort[]? Nibbles { get; }

    /// <summary>Σ w.</summary>
    internal int[] Sums { get; }

    /// <summary>What nibbles count from.</summary>
    internal uint[]? Bases { get; }

    /// <summary>Weight scales.</summary>
    internal float[] Scales { get; }

    /// <summary>Sizes of weights that are not at hand.</summary>
    internal static PackedPlan PlanOf(in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, bool fourBit) => new(shape, segments, Multiple, fourBit);

    private void PackChannel(ReadOnlySpan<sbyte> filter, ConvWeightShape shape, int column)
    {
        int at = column, columns = Plan.PaddedChannels;
        for (int s = 0; s < Plan.Segments.Length; s++)
        {
            SegmentPlan segment = Plan.Segments[s];
            for (int tap = 0; tap < shape.Taps; tap++)
            {
                for (int word = 0; word < segment.Groups; word++, at += columns)
                {
                    for (int i = 4 * word; i < Math.Min(4 * word + 4, segment.Length); i++)
                    {
                        sbyte code = filter[((segment.Start + i) * shape.Taps) + tap];
                        Words[at] |= (uint)(byte)code << (8 * (i % 4));
                        Sums[(s * columns) + column] += code;
                    }
                }
            }
        }
    }

    /// <summary>The lowest code of each channel and segment, or 0, which fills up; whether no code lies more than 15 above.</summary>
    private static bool FindLowest(ReadOnlySpan<sbyte> codes, ConvWeightShape shape, PackedPlan plan, int[] lowest)
    {
        bool fits = true;
        for (int o = 0; o < shape.OutChannels; o++)
        {
            for (int s = 0; s < plan.Segments.Length; s++)
            {
                int start = plan.Ranges[s].Start * shape.Taps, low = 0, high = 0;
                foreach (sbyte code in codes.Slice((o * shape.Depth) + start, plan.Ranges[s].Count * shape.Taps)) (low, high) = (Math.Min(low, code), Math.Max(high, code));
                lowest[(s * plan.PaddedChannels) + o] = low;
                fits &= high - low <= 15;
            }
        }

        return fits;
    }

    private ushort[] ToNibbles(int[] lowest)
    {
        ushort[] halves = new ushort[Words.Length];
        int columns = Plan.PaddedChannels;
        for (int s = 0; s < Plan.Segments.Length; s++)
        {
            int end = s + 1 < Plan.Segments.Length ? Plan.Segments[s + 1].FirstGroup : Plan.Groups;
            for (int i = Plan.Segments[s].FirstGroup * columns; i < end * columns; i++)
            {
                int low = lowest[(s * columns) + (i % columns)];
                for (int k = 0; k < 4; k++) halves[i] |= (ushort)(((sbyte)(Words[i] >> (8 * k)) - low) << (4 * k));
            }
        }

        return halves;
    }
}

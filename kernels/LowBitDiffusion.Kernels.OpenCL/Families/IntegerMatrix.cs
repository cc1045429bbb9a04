using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Tuning;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>
/// Integer weights on a device:
/// <code>
///   codes          [words of K][columns]               four in a 32-bit word, or in 16 bits as nibbles w − lowest
///   sums, scales   [segments][columns]                 columns: output channels, filled up to a multiple of 64
///   bases          [segments][columns]                 nibbles: lowest + 128 in each byte of a word
/// </code>
/// Codes of up to four bits and their zero lie within 15 of each other in every channel and segment, and so fit nibbles.
/// K runs over segments, kernel rows, runs of consecutive input bytes and words of a run, of which the last is filled up with zeros.
/// </summary>
public sealed class IntegerWeights
{
    private readonly PackedPlan _plan;

    private IntegerWeights(in ConvWeightShape shape, PackedPlan plan, int columns, DeviceSlice codes, DeviceSlice sums, DeviceSlice bases, DeviceSlice scales) =>
        (Shape, _plan, Columns, Codes, Sums, Bases, Scales) = (shape, plan, columns, codes, sums, bases, scales);

    /// <summary>Shape of the weight.</summary>
    public ConvWeightShape Shape { get; }

    /// <summary>Whether two codes share a byte.</summary>
    public bool FourBit => _plan.Nibbles;

    /// <summary>Segments.</summary>
    public int Segments => _plan.Segments.Length;

    internal int Columns { get; }

    internal DeviceSlice Codes { get; }

    internal DeviceSlice Sums { get; }

    internal DeviceSlice Bases { get; }

    internal DeviceSlice Scales { get; }

    /// <summary>Bytes that weights of a shape take.</summary>
    public static long Bytes(in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, bool fourBit)
    {
        PackedPlan plan = new(shape, segments, MatrixTile.MaxColumns, fourBit);
        long columns = MatrixTile.Pad(shape.OutChannels);
        return (plan.Groups * columns * (plan.Nibbles ? sizeof(ushort) : sizeof(uint))) + (plan.Segments.Length * columns * (sizeof(int) + sizeof(float) + (plan.Nibbles ? sizeof(uint) : 0)));
    }

    /// <summary>Packs weights and brings them to the device.</summary>
    /// <param name="queue">Any queue of the device.</param>
    /// <param name="arena">Where they go.</param>
    /// <param name="codes">Centred codes <c>[out, in, rows, columns]</c>, −127 … 127.</param>
    /// <param name="shape">Their shape.</param>
    /// <param name="segments">Ranges of input channels; empty for one that holds all.</param>
    /// <param name="weightScales">Scales <c>[segments][out]</c>.</param>
    public static IntegerWeights Load(
        DeviceQueue queue, DeviceArena arena, ReadOnlySpan<sbyte> codes, ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, ReadOnlySpan<float> weightScales)
    {
        int columns = MatrixTile.Pad(shape.OutChannels);
        PackedPlan plan = new(shape, segments, MatrixTile.MaxColumns, nibbles: false);
        int count = plan.Segments.Length;
        int[] lowest = new int[count * columns];
        bool nibbles = FindLowest(codes, shape, plan, columns, lowest);
        plan = new(shape, segments, MatrixTile.MaxColumns, nibbles);
        uint[] words = new uint[plan.Groups * columns];
        int[] sums = new int[count * columns];
        float[] scales = new float[count * columns];
        for (int s = 0; s < count; s++) weightScales.Slice(s * shape.OutChannels, shape.OutChannels).CopyTo(scales.AsSpan(s * columns));
        for (int o = 0; o < shape.OutChannels; o++) PackChannel(codes.Slice(o * shape.Depth, shape.Depth), shape, plan, o, columns, words, sums);

        DeviceSlice packed = nibbles ? arena.Put<ushort>(queue, ToNibbles(words, plan, columns, lowest)) : arena.Put<uint>(queue, words);
        DeviceSlice bases = nibbles ? arena.Put<uint>(queue, Array.ConvertAll(lowest, low => (uint)(low + 128) * 0x01010101u)) : default;
        return new IntegerWeights(shape, plan, columns, packed, arena.Put<int>(queue, sums), bases, arena.Put<float>(queue, scales));
    }

    /// <summary>For each word of K its distance from a pixel's corner in an image of so many columns.</summary>
    internal int[] Runs(in ConvGeometry geometry)
    {
        int[] runs = new int[_plan.Groups];
        int at = 0;
        foreach (SegmentPlan segment in _plan.Segments)
        {
            for (int row = 0; row < Shape.KernelHeight; row++)
            {
                for (int run = 0; run < segment.Columns; run++)
                {
                    for (int word = 0; word < segment.Groups; word++) runs[at++] = (((row * geometry.Width) + run) * geometry.Channels) + segment.Start + (4 * word);
                }
            }
        }

        return runs;
    }

    /// <summary>For each segment the word where it ends.</summary>
    internal int[] Ends() => [.. _plan.Segments.Skip(1).Select(s => s.FirstGroup), _plan.Groups];

    private static void PackChannel(ReadOnlySpan<sbyte> filter, ConvWeightShape shape, PackedPlan plan, int column, int columns, uint[] words, int[] sums)
    {
        int at = column;
        for (int s = 0; s < plan.Segments.Length; s++)
        {
            SegmentPlan segment = plan.Segments[s];
            for (int row = 0; row < shape.KernelHeight; row++)
            {
                for (int run = 0; run < segment.Columns; run++)
                {
                    for (int word = 0; word < segment.Groups; word++, at += columns)
                    {
                        for (int i = 4 * word; i < Math.Min(4 * word + 4, segment.Length); i++)
                        {
                            // A run of all channels goes over the columns of the kernel.
                            int tap = (row * shape.KernelWidth) + run + (i / shape.InChannels), channel = segment.Start + (i % shape.InChannels);
                            sbyte code = filter[(channel * shape.Taps) + tap];
                            words[at] |= (uint)(byte)code << (8 * (i % 4));
                            sums[(s * columns) + column] += code;
                        }
                    }
                }
            }
        }
    }

    /// <summary>The lowest code of each channel and segment, or 0, which fills up; whether no code lies more than 15 above.</summary>
    private static bool FindLowest(ReadOnlySpan<sbyte> codes, ConvWeightShape shape, PackedPlan plan, int columns, int[] lowest)
    {
        bool fits = true;
        for (int o = 0; o < shape.OutChannels; o++)
        {
            for (int s = 0; s < plan.Segments.Length; s++)
            {
                int start = plan.Ranges[s].Start * shape.Taps, low = 0, high = 0;
                foreach (sbyte code in codes.Slice((o * shape.Depth) + start, plan.Ranges[s].Count * shape.Taps)) (low, high) = (Math.Min(low, code), Math.Max(high, code));
                lowest[(s * columns) + o] = low;
                fits &= high - low <= 15;
            }
        }

        return fits;
    }

    private static ushort[] ToNibbles(uint[] words, PackedPlan plan, int columns, int[] lowest)
    {
        ushort[] halves = new ushort[words.Length];
        for (int s = 0; s < plan.Segments.Length; s++)
        {
            int end = s + 1 < plan.Segments.Length ? plan.Segments[s + 1].FirstGroup : plan.Groups;
            for (int i = plan.Segments[s].FirstGroup * columns; i < end * columns; i++)
            {
                int low = lowest[(s * columns) + (i % columns)];
                for (int k = 0; k < 4; k++) halves[i] |= (ushort)(((sbyte)(words[i] >> (8 * k)) - low) << (4 * k));
            }
        }

        return halves;
    }
}

/// <summary>A layer in integers on a device: weights with what depends on the image's size.</summary>
public sealed class IntegerMatrix : TiledLayer
{
    private readonly IntegerWeights _weights;
    private readonly DeviceSlice _runs;
    private readonly DeviceSlice _segments;
    private readonly int _ranges;
    private readonly bool _aligned;

    /// <summary>Prepares a layer.</summary>
    /// <param name="queue">Any queue of the device.</param>
    /// <param name="arena">Where its tables go.</param>
    /// <param name="geometry">Shapes of padded input and output.</param>
    /// <param name="weights">Weights.</param>
    /// <param name="inputRanges">For each segment, which of the input's quantizers is its.</param>
    /// <param name="ranges">How many quantizers the input has.</param>
    public IntegerMatrix(DeviceQueue queue, DeviceArena arena, in ConvGeometry geometry, IntegerWeights weights, ReadOnlySpan<int> inputRanges, int ranges = 2)
        : base(geometry)
    {
        (_weights, _ranges) = (weights, ranges);
        int[] runs = weights.Runs(geometry), ends = weights.Ends(), segments = new int[2 * ends.Length];
        for (int s = 0; s < ends.Length; s++) (segments[2 * s], segments[2 * s + 1]) = (ends[s], inputRanges[s]);
        _aligned = geometry.Channels % 4 == 0 && runs.All(run => run % 4 == 0);
        (_runs, _segments) = (arena.Put<int>(queue, runs), arena.Put<int>(queue, segments));
    }

    /// <summary>Bytes of the tables of a layer, at most.</summary>
    public static long TableBytes(in ConvWeightShape shape, int segments) => ((long)(shape.Depth / 4 + (segments * shape.Taps)) + (2 * segments)) * sizeof(int);

    /// <inheritdoc/>
    internal override string Weights => _weights.FourBit ? "4 bits" : "8 bits";

    /// <inheritdoc/>
    public override void Enqueue(DeviceQueue queue, KernelChoice choice, DeviceSlice input, DeviceSlice quantizer, in MatrixEpilogue epilogue)
    {
        (string family, string options, ((long, long) items, (int, int) group)) = choice.Integers(Tile ?? Usual(choice), Geometry.Rows, Geometry.OutChannels);
        KernelCall call = queue.Call(family, $"{options}{(_weights.FourBit ? " -DNIBBLES" : "")}{epilogue.Options}", family)
            .Memory(input).Memory(_weights.Codes).Memory(_runs).Memory(_weights.Sums).Memory(_weights.Bases).Memory(_weights.Scales).Memory(_segments).Memory(quantizer);
        epilogue.Bind(call, Geometry, _weights.Columns)
            .Value(new Arguments { Segments = _weights.Segments, Ranges = _ranges, Aligned = _aligned && input.Offset % 4 == 0 ? 1 : 0 })
            .Run(items, group);
    }

    /// <inheritdoc/>
    internal override bool HasTiles(KernelChoice choice) => choice.Dot != IntegerDot.NvidiaTensor;

    /// <inheritdoc/>
    internal override MatrixTile Usual(KernelChoice choice) => choice.IntegerTile;

    /// <inheritdoc/>
    internal override byte[] Input(Random random)
    {
        byte[] codes = new byte[Geometry.Batch * Geometry.Height * Geometry.Width * Geometry.Channels];
        random.NextBytes(codes);
        for (int i = 0; i < codes.Length; i += 2) codes[i] = codes[i] < 128 ? byte.MinValue : byte.MaxValue;
        return codes;
    }

    private struct Arguments
    {
        public int Segments, Ranges, Aligned;
    }
}

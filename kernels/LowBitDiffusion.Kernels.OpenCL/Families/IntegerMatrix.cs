using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>Integer weights on a device, laid out as <see cref="PackedColumns"/> says.</summary>
public sealed class IntegerWeights
{
    private IntegerWeights(in ConvWeightShape shape, PackedPlan plan, DeviceSlice codes, DeviceSlice sums, DeviceSlice bases, DeviceSlice scales) =>
        (Shape, Plan, Codes, Sums, Bases, Scales) = (shape, plan, codes, sums, bases, scales);

    /// <summary>Shape of the weight.</summary>
    public ConvWeightShape Shape { get; }

    /// <summary>Whether two codes share a byte.</summary>
    public bool FourBit => Plan.Nibbles;

    /// <summary>Segments.</summary>
    public int Segments => Plan.Segments.Length;

    internal PackedPlan Plan { get; }

    internal DeviceSlice Codes { get; }

    internal DeviceSlice Sums { get; }

    internal DeviceSlice Bases { get; }

    internal DeviceSlice Scales { get; }

    /// <summary>Bytes that weights of a shape take.</summary>
    public static long Bytes(in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, bool fourBit)
    {
        PackedPlan plan = PackedColumns.PlanOf(shape, segments, fourBit);
        long columns = plan.PaddedChannels;
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
        PackedColumns packed = new(codes, shape, segments, weightScales);
        DeviceSlice words = packed.Nibbles is { } nibbles ? arena.Put<ushort>(queue, nibbles) : arena.Put<uint>(queue, packed.Words);
        DeviceSlice bases = packed.Bases is { } lowest ? arena.Put<uint>(queue, lowest) : default;
        return new IntegerWeights(shape, packed.Plan, words, arena.Put<int>(queue, packed.Sums), bases, arena.Put<float>(queue, packed.Scales));
    }
}

/// <summary>A layer in integers on a device: weights with what depends on the image's size.</summary>
public sealed class IntegerMatrix
{
    private readonly ConvGeometry _geometry;
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
    {
        (_geometry, _weights, _ranges) = (geometry, weights, ranges);
        WordWalk walk = WordWalk.Of(weights.Plan, geometry, inputRanges);
        _aligned = walk.Aligned;
        (_runs, _segments) = (arena.Put<int>(queue, walk.Runs), arena.Put<int>(queue, walk.Segments));
    }

    /// <summary>Bytes of the tables of a layer, at most.</summary>
    public static long TableBytes(in ConvWeightShape shape, int segments) => ((long)(shape.Depth / 4 + (segments * shape.Taps)) + (2 * segments)) * sizeof(int);

    /// <summary>Hands the layer over.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="choice">Variant and tile.</param>
    /// <param name="input">Codes <c>[batch, height, width, channels]</c> with their border, at a multiple of 4 bytes; 3 bytes behind the end may be read.</param>
    /// <param name="quantizer">Of the input's quantizers: 1/d of each, d of each, z of each.</param>
    /// <param name="epilogue">What happens to the sums.</param>
    public void Enqueue(DeviceQueue queue, KernelChoice choice, DeviceSlice input, DeviceSlice quantizer, in MatrixEpilogue epilogue)
    {
        MatrixTile tile = choice.IntegerTile;
        Arguments arguments = new()
        {
            Rows = _geometry.Rows,
            Columns = _geometry.OutChannels,
            PaddedColumns = _weights.Plan.PaddedChannels,
            Segments = _weights.Segments,
            Ranges = _ranges,
            OutHeight = _geometry.OutHeight,
            OutWidth = _geometry.OutWidth,
            Height = _geometry.Height,
            Width = _geometry.Width,
            Channels = _geometry.Channels,
            Stride = _geometry.Stride,
            Aligned = _aligned && input.Offset % 4 == 0 ? 1 : 0,
            ImageVectorStride = epilogue.ImageVectorStride,
            ResidualStride = epilogue.ResidualStride,
            OutputStride = epilogue.OutputStride,
            OutputScale = epilogue.OutputScale,
        };
        ((long, long) items, (int, int) group) = tile.Range(_geometry.Rows, _geometry.OutChannels);
        string options = $"{tile.Options} {KernelChoice.Option(choice.Dot)}{(_weights.FourBit ? " -DNIBBLES" : "")}";
        queue.Call("integer_matrix", options, "integer_matrix")
            .Memory(input).Memory(_weights.Codes).Memory(_runs).Memory(_weights.Sums).Memory(_weights.Bases).Memory(_weights.Scales).Memory(_segments).Memory(quantizer)
            .Memory(epilogue.Bias).Memory(epilogue.ImageVector).Memory(epilogue.Residual).Memory(epilogue.Output).Value(arguments)
            .Run(items, group);
    }

    private struct Arguments
    {
        public int Rows, Columns, PaddedColumns, Segments, Ranges;
        public int OutHeight, OutWidth, Height, Width, Channels, Stride;
        public int Aligned, ImageVectorStride, ResidualStride, OutputStride;
        public float OutputScale;
    }
}

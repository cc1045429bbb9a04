using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Tuning;

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
        WordWalk walk = WordWalk.Of(weights.Plan, Walk, inputRanges);
        _aligned = walk.Aligned;
        (_runs, _segments) = (arena.Put<int>(queue, walk.Runs), arena.Put<int>(queue, walk.Segments));
    }

    /// <inheritdoc/>
    internal override string Weights => _weights.FourBit ? "4 bits" : "8 bits";

    /// <inheritdoc/>
    public override void Enqueue(DeviceQueue queue, KernelChoice choice, DeviceSlice input, DeviceSlice quantizer, in MatrixEpilogue epilogue)
    {
        DeviceSlice runs = _runs;
        foreach (ConvPhase phase in Walk.Phases)
        {
            (string family, string options, ((long, long) items, (int, int) group)) = choice.Integers(Tile ?? Usual(choice), phase.Rows, Geometry.OutChannels);
            KernelCall call = queue.Call(family, $"{options}{(_weights.FourBit ? " -DNIBBLES" : "")}{epilogue.Options}", family)
                .Memory(input).Memory(_weights.Codes).Memory(runs).Memory(_weights.Sums).Memory(_weights.Bases).Memory(_weights.Scales).Memory(_segments).Memory(quantizer);
            epilogue.Bind(call, Walk, phase, _weights.Plan.PaddedChannels)
                .Value(new Arguments { Segments = _weights.Segments, Ranges = _ranges, Aligned = _aligned && input.Offset % 4 == 0 ? 1 : 0 })
                .Run(items, group);
            runs = runs.Skip((long)_weights.Plan.Groups * sizeof(int));
        }
    }

    /// <inheritdoc/>
    internal override bool HasTiles(KernelChoice choice) => choice.Dot != IntegerDot.NvidiaTensor;

    /// <inheritdoc/>
    internal override MatrixTile Usual(KernelChoice choice) => choice.IntegerTile;

    /// <inheritdoc/>
    internal override byte[] Input(Random random, ValueStorage storage)
    {
        byte[] codes = new byte[Geometry.InputLength];
        random.NextBytes(codes);
        for (int i = 0; i < codes.Length; i += 2) codes[i] = codes[i] < 128 ? byte.MinValue : byte.MaxValue;
        return codes;
    }

    private struct Arguments
    {
        public int Segments, Ranges, Aligned;
    }
}

using ILGPU;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.ILGPU.Devices;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>Integer weights on a device, laid out as <see cref="PackedColumns"/> says.</summary>
public sealed class IntegerWeights : IDisposable
{
    private readonly DeviceMemory _memory;

    private IntegerWeights(DeviceMemory memory, PackedPlan plan) => (_memory, Plan) = (memory, plan);

    /// <summary>Whether two codes share a byte.</summary>
    public bool FourBit => Plan.Nibbles;

    internal PackedPlan Plan { get; }

    internal ArrayView<uint> Words { get; private init; }

    internal ArrayView<ushort> Nibbles { get; private init; }

    internal ArrayView<uint> Bases { get; private init; }

    internal ArrayView<int> Sums { get; private init; }

    internal ArrayView<float> Scales { get; private init; }

    /// <summary>Packs weights and brings them to the device.</summary>
    /// <param name="device">The device.</param>
    /// <param name="codes">Centred codes <c>[out, in, rows, columns]</c>, −127 … 127.</param>
    /// <param name="shape">Their shape.</param>
    /// <param name="segments">Ranges of input channels; empty for one that holds all.</param>
    /// <param name="weightScales">Scales <c>[segments][out]</c>.</param>
    public static IntegerWeights Load(IlgpuDevice device, ReadOnlySpan<sbyte> codes, in ConvWeightShape shape, ReadOnlySpan<KernelSegment> segments, ReadOnlySpan<float> weightScales)
    {
        PackedColumns packed = new(codes, shape, segments, weightScales);
        DeviceMemory memory = new(device);
        return new IntegerWeights(memory, packed.Plan)
        {
            Words = packed.Plan.Nibbles ? default : memory.Put(packed.Words),
            Nibbles = packed.Nibbles is { } nibbles ? memory.Put(nibbles) : default,
            Bases = packed.Bases is { } bases ? memory.Put(bases) : default,
            Sums = memory.Put(packed.Sums),
            Scales = memory.Put(packed.Scales),
        };
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}

/// <summary>A layer in integers on a device: weights with what depends on the image's size.</summary>
public sealed class IntegerMatrix : IDisposable
{
    /// <summary>Codes are read four at a time, up to so many bytes behind the last.</summary>
    public const int Slack = 3;

    private readonly IlgpuDevice _device;
    private readonly DeviceMemory _memory;
    private readonly IntegerWeights _weights;
    private readonly LayerNumbers _numbers;
    private readonly ConvWalk _walk;
    private readonly ArrayView<int> _runs;
    private readonly ArrayView<int> _segments;
    private readonly bool _aligned;
    private readonly long _inputBytes;

    /// <summary>Prepares a layer.</summary>
    /// <param name="device">The device.</param>
    /// <param name="geometry">Shapes of padded input and output.</param>
    /// <param name="weights">Weights.</param>
    /// <param name="inputRanges">For each segment, which of the input's quantizers is its.</param>
    /// <param name="ranges">How many quantizers the input has.</param>
    public IntegerMatrix(IlgpuDevice device, in ConvGeometry geometry, IntegerWeights weights, ReadOnlySpan<int> inputRanges, int ranges = 2)
    {
        (_device, _weights, _memory) = (device, weights, new DeviceMemory(device));
        _walk = new ConvWalk(geometry);
        WordWalk walk = WordWalk.Of(weights.Plan, _walk, inputRanges);
        _aligned = walk.Aligned;
        (_runs, _segments) = (_memory.Put(walk.Runs), _memory.Put(walk.Segments));
        _inputBytes = (long)geometry.InputLength + Slack;
        _numbers = new LayerNumbers
        {
            Columns = geometry.OutChannels,
            PaddedColumns = weights.Plan.PaddedChannels,
            Segments = weights.Plan.Segments.Length,
            Ranges = ranges,
        };
    }

    /// <summary>Hands the layer over; <see cref="IlgpuDevice.Wait"/> waits for it.</summary>
    /// <param name="variant">How to compute it.</param>
    /// <param name="input">Codes <c>[batch, height, width, channels]</c> with their border, at a multiple of 4 bytes, and <see cref="Slack"/> bytes behind them, whatever they are.</param>
    /// <param name="quantizer">Of the input's quantizers: 1/d of each, d of each, z of each.</param>
    /// <param name="epilogue">What happens to the sums.</param>
    /// <exception cref="ArgumentException">The input is too short.</exception>
    public void Enqueue(IntegerVariant variant, ArrayView<byte> input, ArrayView<float> quantizer, in MatrixEpilogue epilogue)
    {
        LayerNumbers numbers = _numbers;
        if (input.Length < _inputBytes) throw new ArgumentException($"the input has {input.Length} bytes, the layer reads {_inputBytes}", nameof(input));
        (numbers.ImageVectorStride, numbers.ResidualStride, numbers.OutputStride, numbers.OutputScale) =
            (epilogue.ImageVectorStride, epilogue.ResidualStride, epilogue.OutputStride, epilogue.OutputScale);
        int groups = _weights.Plan.Groups;
        for (int i = 0; i < _walk.Phases.Length; i++)
        {
            LayerViews views = new(
                input, _weights.Words, _weights.Nibbles, _weights.Bases, _weights.Sums, _weights.Scales, _runs.SubView(i * groups, groups), _segments, quantizer,
                epilogue.Bias, epilogue.ImageVector, epilogue.Residual, epilogue.Output);
            _device.Kernel(variant, _aligned, _weights.FourBit)(views, Of(_walk.Phases[i], numbers));
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private static LayerNumbers Of(ConvPhase phase, LayerNumbers numbers)
    {
        PhaseMap map = phase.Map;
        (numbers.Rows, numbers.PerImage, numbers.PerLine) = (phase.Rows, map.PerImage, map.PerLine);
        (numbers.From, numbers.FromImage, numbers.FromLine, numbers.FromStep) = ((int)map.From, (int)map.FromImage, (int)map.FromLine, (int)map.FromStep);
        (numbers.To, numbers.ToImage, numbers.ToLine, numbers.ToStep) = (map.To, map.ToImage, map.ToLine, map.ToStep);
        return numbers;
    }
}

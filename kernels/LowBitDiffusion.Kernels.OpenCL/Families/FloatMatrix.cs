using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Tuning;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>Float weights on a device: <c>[K][columns]</c>, K over kernel rows, kernel columns, input channels; columns filled up to a multiple of 64.</summary>
public sealed class FloatWeights
{
    private FloatWeights(in ConvWeightShape shape, int columns, DeviceSlice values) => (Shape, Columns, Values) = (shape, columns, values);

    /// <summary>Shape of the weight.</summary>
    public ConvWeightShape Shape { get; }

    internal int Columns { get; }

    internal DeviceSlice Values { get; }

    /// <summary>Bytes that weights of a shape take.</summary>
    public static long Bytes(in ConvWeightShape shape) => (long)shape.Depth * MatrixTile.Pad(shape.OutChannels) * sizeof(float);

    /// <summary>Packs weights <c>[out, in, rows, columns]</c> and brings them to the device.</summary>
    public static FloatWeights Load(DeviceQueue queue, DeviceArena arena, ReadOnlySpan<float> weights, in ConvWeightShape shape)
    {
        int columns = MatrixTile.Pad(shape.OutChannels);
        float[] values = new float[shape.Depth * columns];
        for (int o = 0; o < shape.OutChannels; o++)
        {
            for (int c = 0; c < shape.InChannels; c++)
            {
                for (int tap = 0; tap < shape.Taps; tap++) values[(((tap * shape.InChannels) + c) * columns) + o] = weights[(((o * shape.InChannels) + c) * shape.Taps) + tap];
            }
        }

        return new FloatWeights(shape, columns, arena.Put<float>(queue, values));
    }
}

/// <summary>A layer in single precision on a device: weights with what depends on the image's size.</summary>
public sealed class FloatMatrix : TiledLayer
{
    private readonly FloatWeights _weights;
    private readonly DeviceSlice _runs;

    /// <summary>Prepares a layer.</summary>
    /// <param name="queue">Any queue of the device.</param>
    /// <param name="arena">Where its tables go.</param>
    /// <param name="geometry">Shapes of padded input and output.</param>
    /// <param name="weights">Weights.</param>
    public FloatMatrix(DeviceQueue queue, DeviceArena arena, in ConvGeometry geometry, FloatWeights weights)
        : base(geometry)
    {
        _weights = weights;
        int channels = geometry.Channels;
        List<int> runs = [];
        foreach (ConvPhase phase in Walk.Phases)
        {
            foreach (ConvRun run in phase.Runs(joined: true)) runs.AddRange([(int)run.Offset, (int)run.Pixels * channels]);
        }

        _runs = arena.Put<int>(queue, [.. runs]);
    }

    /// <inheritdoc/>
    internal override string Weights => "f32";

    /// <inheritdoc/>
    public override void Enqueue(DeviceQueue queue, KernelChoice choice, DeviceSlice input, DeviceSlice quantizer, in MatrixEpilogue epilogue)
    {
        MatrixTile tile = Tile ?? Usual(choice);
        DeviceSlice runs = _runs;
        foreach (ConvPhase phase in Walk.Phases)
        {
            ((long, long) items, (int, int) group) = tile.Range(phase.Rows, Geometry.OutChannels);
            int count = phase.Runs(joined: true).Length;
            epilogue.Bind(queue.Call("float_matrix", $"{tile.Options}{epilogue.Options}", "float_matrix").Memory(input).Memory(_weights.Values).Memory(runs), Walk, phase, _weights.Columns)
                .Value(count).Run(items, group);
            runs = runs.Skip(2L * count * sizeof(int));
        }
    }

    /// <inheritdoc/>
    internal override MatrixTile Usual(KernelChoice choice) => choice.FloatTile;

    /// <inheritdoc/>
    internal override byte[] Input(Random random, ValueStorage storage)
    {
        float[] values = new float[Geometry.InputLength];
        for (int i = 0; i < values.Length; i++) values[i] = 2 * random.NextSingle() - 1;
        return storage.Stored(values);
    }
}

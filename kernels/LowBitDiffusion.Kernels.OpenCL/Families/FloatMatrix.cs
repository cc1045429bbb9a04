using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;

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

    /// <summary>Hands a layer over.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="choice">Tile.</param>
    /// <param name="geometry">Shapes of padded input and output.</param>
    /// <param name="input">Floats <c>[batch, height, width, channels]</c> with their border.</param>
    /// <param name="epilogue">What happens to the sums.</param>
    public void Enqueue(DeviceQueue queue, KernelChoice choice, in ConvGeometry geometry, DeviceSlice input, in MatrixEpilogue epilogue)
    {
        MatrixTile tile = choice.FloatTile;
        ((long, long) items, (int, int) group) = tile.Range(geometry.Rows, geometry.OutChannels);
        epilogue.Bind(queue.Call("float_matrix", $"{tile.Options}{epilogue.Options}", "float_matrix").Memory(input).Memory(Values), geometry, Columns)
            .Value(geometry.KernelHeight).Value(geometry.KernelWidth * geometry.Channels).Run(items, group);
    }
}

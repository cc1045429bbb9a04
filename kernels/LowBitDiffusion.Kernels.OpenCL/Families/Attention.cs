using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary><c>softmax(q kᵀ·Scale + mask) v</c> for every image and head on a device. Strides are in elements.</summary>
public struct DeviceAttention
{
    private const int Items = 64;
    private const int LocalFloats = 3 << 10;

    /// <summary>Queries, keys, values, output: rows of tokens, image after image; heads are consecutive channels.</summary>
    public DeviceRows Query, Key, Value, Output;

    /// <summary>Added to the scores of each image's keys <c>[batch][keys]</c>, or nowhere.</summary>
    public DeviceSlice Mask;

    /// <summary>Distance between the images' rows of <see cref="Mask"/>; 0 for one row.</summary>
    public int MaskStride;

    /// <summary>Images, heads, tokens of an image.</summary>
    public int Batch, Heads, Queries, Keys;

    /// <summary>Channels of a head.</summary>
    public int HeadWidth, ValueWidth;

    /// <summary>Factor on the products.</summary>
    public float Scale;

    /// <summary>Query i sees keys 0 … i only.</summary>
    public bool Causal;

    /// <summary>Hands it over.</summary>
    public readonly void Enqueue(DeviceQueue queue)
    {
        int block = Math.Clamp(LocalFloats / (HeadWidth + ValueWidth), 1, 32);
        Arguments arguments = new()
        {
            Heads = Heads,
            Queries = Queries,
            Keys = Keys,
            QueryStride = Query.Stride,
            KeyStride = Key.Stride,
            ValueStride = Value.Stride,
            OutputStride = Output.Stride,
            Causal = Causal ? 1 : 0,
            MaskStride = MaskStride,
            Scale = Scale,
        };
        queue.Call("attention", $"-DITEMS={Items} -DBLOCK={block} -DWIDTH={HeadWidth} -DVALUE_WIDTH={ValueWidth}", "attention")
            .Memory(Query.Place).Memory(Key.Place).Memory(Value.Place).Memory(Mask).Memory(Output.Place).Value(arguments)
            .Run((Queries, (long)Batch * Heads), (Items, 1));
    }

    private struct Arguments
    {
        public int Heads, Queries, Keys, QueryStride, KeyStride, ValueStride, OutputStride, Causal, MaskStride;
        public float Scale;
    }
}

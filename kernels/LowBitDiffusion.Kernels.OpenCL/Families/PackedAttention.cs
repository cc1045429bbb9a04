using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>Attention in 8-bit integers or bfloat16 on a device: <see cref="Int8Attention"/> and <see cref="Bf16Attention"/>, the same bits where divisions round correctly.</summary>
public static class PackedAttention
{
    private const int Group = 64;

    /// <summary>Bytes of scratch: the processor's, but for what its threads keep.</summary>
    /// <param name="job">Shapes.</param>
    /// <param name="bf16">Whether numbers are bfloat16.</param>
    public static long ScratchBytes(in DeviceAttention job, bool bf16) => new Int8AttentionLayout(Shape(job), bf16).Total(Shape(job), threads: 0);

    /// <summary>Hands it over.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="dot">How products of bytes are added.</param>
    /// <param name="job">Shapes and memory; no mask and not causal.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes at a multiple of 64.</param>
    /// <param name="bf16">Whether numbers are bfloat16.</param>
    /// <exception cref="ArgumentException">There is a mask, or the attention is causal.</exception>
    public static void Enqueue(DeviceQueue queue, IntegerDot dot, in DeviceAttention job, DeviceSlice scratch, bool bf16) =>
        Enqueue(queue, dot, job, scratch, bf16, queue.Context.Device.Kind == DeviceKind.Cpu ? (16, 1) : (1, 64));

    /// <summary>With a number of queries of an item and of items of a group.</summary>
    internal static void Enqueue(DeviceQueue queue, IntegerDot dot, in DeviceAttention job, DeviceSlice scratch, bool bf16, (int Vector, int Items) tile)
    {
        if (job.Causal || job.Mask.Buffer is not null) throw new ArgumentException("only attention in float has masks", nameof(job));
        Int8AttentionLayout layout = new(Shape(job), bf16);
        Arguments arguments = new()
        {
            Image = layout.Image,
            FirstHead = Int8AttentionLayout.CounterBytes + (job.Batch * layout.Image),
            Head = layout.Head,
            ValueMiddles = layout.KeyStatistics,
            ValueScales = layout.KeyStatistics + layout.ValueStatistics,
            KeyScales = layout.KeyCodes,
            KeyStarts = layout.KeyCodes + layout.KeyFloats,
            Values = layout.KeyCodes + (2 * layout.KeyFloats),
            Heads = job.Heads,
            Queries = job.Queries,
            Keys = job.Keys,
            QueryStride = job.Query.Stride,
            KeyStride = job.Key.Stride,
            ValueStride = job.Value.Stride,
            OutputStride = job.Output.Stride,
            KeyRow = layout.KeyRow / sizeof(uint),
            ValueGroup = layout.ValueGroup / sizeof(uint),
            Scale = job.Scale,
        };
        string options = $"-DV={tile.Vector} -DITEMS={tile.Items} -DBLOCK={Int8AttentionLayout.KeyBlock} -DWIDTH={job.HeadWidth} -DVALUE_WIDTH={job.ValueWidth} {(bf16 ? "-DBF16 -DDOT_PLAIN" : KernelChoice.Option(dot))}";
        long heads = (long)job.Batch * job.Heads, groups = (job.Keys + layout.GroupSize - 1) / layout.GroupSize;
        queue.Call("packed_attention", options, "packed_statistics").Memory(job.Key.Place).Memory(job.Value.Place).Memory(scratch).Value(arguments)
            .Run((layout.KeyChannels + layout.ValueChannels, job.Batch), (Group, 1));
        queue.Call("packed_attention", options, "packed_keys").Memory(job.Key.Place).Memory(scratch).Value(arguments).Run((job.Keys, heads), (Group, 1));
        queue.Call("packed_attention", options, "packed_values").Memory(job.Value.Place).Memory(scratch).Value(arguments).Run((groups * job.ValueWidth, heads), (Group, 1));
        queue.Call("packed_attention", options, "packed_attention").Memory(job.Query.Place).Memory(scratch).Memory(job.Output.Place).Value(arguments)
            .Run(((job.Queries + tile.Vector - 1) / tile.Vector, heads), (tile.Items, 1));
    }

    private static AttentionJob Shape(in DeviceAttention job) =>
        new() { Batch = job.Batch, Heads = job.Heads, Queries = job.Queries, Keys = job.Keys, HeadWidth = job.HeadWidth, ValueWidth = job.ValueWidth };

    private struct Arguments
    {
        public long Image, FirstHead, Head, ValueMiddles, ValueScales, KeyScales, KeyStarts, Values;
        public int Heads, Queries, Keys, QueryStride, KeyStride, ValueStride, OutputStride, KeyRow, ValueGroup;
        public float Scale;
    }
}

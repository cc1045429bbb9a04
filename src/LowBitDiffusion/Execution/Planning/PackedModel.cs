using System.Collections.Concurrent;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.FloatConvolution;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>
/// A model's weights in the layouts that this machine's kernels read, each packed once, when the first plan asks for it, and shared by all plans whatever
/// their batch. Thread-safe.
/// </summary>
internal sealed unsafe class PackedModel(ModelWeights weights, KernelTable kernels) : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<PackedWeights>> _quantized = [];
    private readonly ConcurrentDictionary<string, Lazy<PackedFloatWeights>> _floats = [];
    private readonly ConcurrentDictionary<string, Lazy<NativeBuffer>> _vectors = [];
    private readonly ScratchBuffers _scratch = new();
    private readonly Lazy<Int8Attention> _int8Attention = new(() => new Int8Attention(kernels.InstructionSet));
    private readonly Lazy<Bf16Attention> _bf16Attention = new(() => new Bf16Attention());

    /// <summary>The kernels that the weights are packed for.</summary>
    public KernelTable Kernels => kernels;

    /// <summary>How an attention runs here: float takes the place of bfloat16 where the kernels have none.</summary>
    public AttentionPrecision AttentionOf(Node attention) => weights.AttentionOf(attention) switch
    {
        AttentionPrecision.Bf16 when kernels.InstructionSet != InstructionSet.Avx512Vnni || !LowBitDiffusion.Kernels.Attention.Bf16Attention.IsSupported => AttentionPrecision.Float,
        AttentionPrecision precision => precision,
    };

    /// <summary>The kernel of attentions in integers.</summary>
    public Int8Attention Int8Attention => _int8Attention.Value;

    /// <summary>The kernel of attentions in bfloat16.</summary>
    public Bf16Attention Bf16Attention => _bf16Attention.Value;

    /// <summary>The module in integers, or null where it runs in float.</summary>
    public QuantizedModule? Module(MatrixOp op) => weights.Quantized(op.Module);

    /// <summary>A module's integer weights.</summary>
    /// <param name="op">The layer.</param>
    /// <param name="module">Its codes and scales.</param>
    /// <param name="gated">Whether its epilogue gates: the output channels are then in another order.</param>
    public PackedWeights Quantized(MatrixOp op, QuantizedModule module, bool gated) => _quantized.GetOrAdd(Name(op.Module, gated), _ => new(() =>
    {
        IReadOnlyList<ChannelSegment> segments = module.Segments;
        int[]? order = Order(module, gated);
        float[] scales = new float[segments.Count * module.OutChannels];
        int groups = module.WeightScales.Length / module.OutChannels;
        for (int s = 0; s < segments.Count; s++)
        {
            for (int o = 0; o < module.OutChannels; o++) scales[s * module.OutChannels + o] = module.WeightScales[(order?[o] ?? o) * groups + segments[s].Group];
        }

        int count = (int)module.WeightShape.Elements;
        return _scratch.Use<sbyte, PackedWeights>(order is null ? count : 2L * count, scratch =>
        {
            Span<sbyte> codes = scratch[..count];
            module.ReadCodes(codes);
            if (order is not null)
            {
                Span<sbyte> ordered = scratch[count..];
                Reorder(codes, order, ordered);
                codes = ordered;
            }

            return kernels.QuantizedConv.Pack(codes, WeightShape(op), Ranges(module), scales);
        });
    })).Value;

    /// <summary>A module's float weights.</summary>
    public PackedFloatWeights Float(MatrixOp op) =>
        _floats.GetOrAdd(op.Module, _ => new(() =>
        {
            ConvWeightShape shape = WeightShape(op);
            return _scratch.Use<float, PackedFloatWeights>(op.WeightShape.Elements, values =>
            {
                weights.Read(new Parameter($"{op.Module}.weight", op.WeightShape), values);
                return FloatConvKernel.Pack(values, shape.OutChannels, shape.InChannels, shape.KernelHeight, shape.KernelWidth);
            });
        })).Value;

    /// <summary>A module's bias, or null.</summary>
    /// <param name="op">The layer.</param>
    /// <param name="module">The module in integers, or null.</param>
    /// <param name="gated">Whether its epilogue gates.</param>
    public float* Bias(MatrixOp op, QuantizedModule? module, bool gated = false)
    {
        if (module is null) return op.HasBias ? Vector(new Parameter($"{op.Module}.bias", new TensorShape(op.WeightShape[0]))) : null;
        return module.Bias is null ? null : Vector(Name($"{op.Module}.bias", gated), module.Bias.Length, values => Reorder(module.Bias, Order(module, gated), values));
    }

    /// <summary>A parameter that is read as it is.</summary>
    public float* Vector(Parameter parameter) => Vector(parameter.Name, parameter.Shape.Elements, values => weights.Read(parameter, values));

    /// <summary>A computed table.</summary>
    public float* Constant(ConstantOp constant) => Vector($"constant {constant.Name} {constant.Data.Length}", constant.Data.Length, constant.Data.CopyTo);

    /// <summary>Bytes that a graph's parameters take once packed, without reading them.</summary>
    public long EstimateBytes(Graph graph)
    {
        long bytes = 0;
        foreach (ModuleOp op in graph.Nodes.Select(n => n.Op).OfType<ModuleOp>().DistinctBy(op => op.Module))
        {
            if (op is not MatrixOp matrix)
            {
                bytes += op.Parameters.Sum(p => p.Shape.Elements) * sizeof(float);
                continue;
            }

            ConvWeightShape shape = WeightShape(matrix);
            bytes += matrix.HasBias ? shape.OutChannels * sizeof(float) : 0;
            bytes += Module(matrix) is { } module
                ? (long)kernels.QuantizedConv.PackedBytes(shape, Ranges(module), fourBit: module.WeightBits <= 4)
                : FloatConvKernel.PackedBytes(shape.OutChannels, shape.InChannels, shape.KernelHeight, shape.KernelWidth);
        }

        return bytes;
    }

    /// <summary>Bytes of all that has been packed.</summary>
    public long Bytes =>
        _quantized.Values.Sum(w => (long)w.Value.SizeInBytes) + _floats.Values.Sum(w => w.Value.Bytes) + _vectors.Values.Sum(v => (long)v.Value.Length);

    /// <summary>Frees what packing needed beside the weights; it is made again where weights are packed later.</summary>
    public void EndLoading() => _scratch.Dispose();

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        _scratch.Dispose();
        foreach (Lazy<PackedWeights> entry in _quantized.Values) entry.Value.Dispose();
        foreach (Lazy<PackedFloatWeights> entry in _floats.Values) entry.Value.Dispose();
        foreach (Lazy<NativeBuffer> entry in _vectors.Values) entry.Value.Dispose();
        if (_int8Attention.IsValueCreated) _int8Attention.Value.Dispose();
        if (_bf16Attention.IsValueCreated) _bf16Attention.Value.Dispose();
    }

    private static string Name(string name, bool gated) => gated ? $"{name} gated" : name;

    private int[]? Order(QuantizedModule module, bool gated) =>
        gated ? [.. Enumerable.Range(0, module.OutChannels).Select(place => kernels.QuantizedConv.GatedChannel(place, module.OutChannels))] : null;

    /// <summary>Copies rows of equal length in the given order, or as they are.</summary>
    public static void Reorder<T>(ReadOnlySpan<T> rows, int[]? order, Span<T> ordered)
    {
        if (order is null)
        {
            rows.CopyTo(ordered);
            return;
        }

        int length = rows.Length / order.Length;
        for (int i = 0; i < order.Length; i++) rows.Slice(order[i] * length, length).CopyTo(ordered[(i * length)..]);
    }

    private static ConvWeightShape WeightShape(MatrixOp op) =>
        op is Conv2dOp conv ? new(conv.OutChannels, conv.InChannels, conv.Kernel, conv.Kernel) : ConvWeightShape.Linear(op.WeightShape[1], op.WeightShape[0]);

    private static KernelSegment[] Ranges(QuantizedModule module) => [.. module.Segments.Select(s => new KernelSegment(s.Start, s.Count))];

    private float* Vector(string name, long length, Action<Span<float>> read) => (float*)_vectors.GetOrAdd(name, _ => new(() =>
    {
        NativeBuffer buffer = new((nuint)(length * sizeof(float)));
        read(new Span<float>(buffer.Pointer, checked((int)length)));
        return buffer;
    })).Value.Pointer;
}

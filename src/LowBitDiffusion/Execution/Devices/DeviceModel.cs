using System.Collections.Concurrent;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Devices;

/// <summary>A model's weights on a device, each packed and brought there once, when the first plan asks for it, and shared by all plans. Thread-safe.</summary>
/// <param name="device">The device.</param>
/// <param name="weights">The weights.</param>
/// <param name="values">How the model's plans keep values in the device's memory.</param>
internal sealed class DeviceModel(ComputeDevice device, ModelWeights weights, ValueStorage values = ValueStorage.Single) : IDisposable
{
    private readonly ConcurrentDictionary<string, Lazy<IntegerWeights>> _integers = [];
    private readonly ConcurrentDictionary<string, Lazy<FloatWeights>> _floats = [];
    private readonly ConcurrentDictionary<string, Lazy<DeviceSlice>> _vectors = [];
    private readonly DeviceArena _arena = new(device.Context);
    private readonly Lock _lock = new();
    private DeviceQueue? _queue;

    /// <summary>The device.</summary>
    public ComputeDevice Device => device;

    /// <summary>How plans keep values in the device's memory.</summary>
    public ValueStorage Values => values;

    /// <summary>Bytes of weights on the device.</summary>
    public long Bytes => _arena.Bytes;

    /// <summary>A module's integer weights.</summary>
    /// <param name="op">The layer.</param>
    /// <param name="module">Its codes and scales.</param>
    /// <param name="gated">Whether its epilogue gates: the output channels are then in another order.</param>
    public IntegerWeights Integer(MatrixOp op, QuantizedModule module, bool gated) => _integers.GetOrAdd(Name(op.Module, gated), _ => new(() =>
    {
        IReadOnlyList<ChannelSegment> segments = module.Segments;
        int[]? order = Order(module, gated);
        float[] scales = new float[segments.Count * module.OutChannels];
        int groups = module.WeightScales.Length / module.OutChannels;
        for (int s = 0; s < segments.Count; s++)
        {
            for (int o = 0; o < module.OutChannels; o++) scales[s * module.OutChannels + o] = module.WeightScales[(order?[o] ?? o) * groups + segments[s].Group];
        }

        sbyte[] codes = new sbyte[module.Codes.Length];
        PackedModel.Reorder(module.Codes, order, codes);
        return Upload(queue => IntegerWeights.Load(queue, _arena, codes, Shape(op), Ranges(module), scales));
    })).Value;

    /// <summary>A layer's tables for one size of image; they live in the plan's own memory.</summary>
    public FloatMatrix Layer(DeviceArena arena, FloatWeights floats, in ConvGeometry geometry)
    {
        ConvGeometry shape = geometry;
        return Upload(queue => new FloatMatrix(queue, arena, shape, floats));
    }

    /// <summary>A layer's tables for one size of image; they live in the plan's own memory.</summary>
    public IntegerMatrix Layer(DeviceArena arena, IntegerWeights integers, in ConvGeometry geometry, int[] inputRanges)
    {
        ConvGeometry shape = geometry;
        return Upload(queue => new IntegerMatrix(queue, arena, shape, integers, inputRanges));
    }

    /// <summary>A module's float weights.</summary>
    public FloatWeights Float(MatrixOp op) => _floats.GetOrAdd(op.Module, _ => new(() =>
    {
        float[] numbers = weights.Float(new Parameter($"{op.Module}.weight", op.WeightShape));
        return Upload(queue => FloatWeights.Load(queue, _arena, numbers, Shape(op)));
    })).Value;

    /// <summary>A module's bias, or nowhere.</summary>
    public DeviceSlice Bias(MatrixOp op, QuantizedModule? module, bool gated = false)
    {
        if (module is null) return op.HasBias ? Vector(new Parameter($"{op.Module}.bias", new TensorShape(op.WeightShape[0]))) : default;
        if (module.Bias is not { } bias) return default;
        return Vector(Name($"{op.Module}.bias", gated), () =>
        {
            float[] ordered = new float[bias.Length];
            PackedModel.Reorder(bias, Order(module, gated), ordered);
            return ordered;
        });
    }

    /// <summary>A parameter that is read as it is.</summary>
    public DeviceSlice Vector(Parameter parameter) => Vector(parameter.Name, () => weights.Float(parameter));

    /// <summary>A computed table.</summary>
    public DeviceSlice Constant(ConstantOp constant) => Vector($"constant {constant.Name} {constant.Data.Length}", () => constant.Data);

    /// <summary>Bytes that a graph's parameters take on a device, without reading them.</summary>
    public static long EstimateBytes(Graph graph, ModelWeights weights)
    {
        long bytes = 0;
        foreach (ModuleOp op in graph.Nodes.Select(n => n.Op).OfType<ModuleOp>().DistinctBy(op => op.Module))
        {
            if (op is not MatrixOp matrix)
            {
                bytes += op.Parameters.Sum(p => p.Shape.Elements) * sizeof(float);
                continue;
            }

            bytes += matrix.HasBias ? matrix.WeightShape[0] * sizeof(float) : 0;
            bytes += weights.Quantized(op.Module) is { } module
                ? IntegerWeights.Bytes(Shape(matrix), Ranges(module), fourBit: module.WeightBits <= 4)
                : FloatWeights.Bytes(Shape(matrix));
        }

        return bytes;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _queue?.Dispose();
        _arena.Dispose();
    }

    private static string Name(string name, bool gated) => gated ? $"{name} gated" : name;

    private static int[]? Order(QuantizedModule module, bool gated) =>
        gated ? [.. Enumerable.Range(0, module.OutChannels).Select(place => Kernels.OpenCL.Families.MatrixEpilogue.GatedChannel(place, module.OutChannels))] : null;

    private static ConvWeightShape Shape(MatrixOp op) =>
        op is Conv2dOp conv ? new(conv.OutChannels, conv.InChannels, conv.Kernel, conv.Kernel) : ConvWeightShape.Linear(op.WeightShape[1], op.WeightShape[0]);

    private static KernelSegment[] Ranges(QuantizedModule module) => [.. module.Segments.Select(s => new KernelSegment(s.Start, s.Count))];

    private DeviceSlice Vector(string name, Func<float[]> read) => _vectors.GetOrAdd(name, _ => new(() =>
    {
        float[] numbers = read();
        return Upload(queue => _arena.Put<float>(queue, numbers));
    })).Value;

    // Packing of one weight at a time, whose arrays go to the device together; a queue is for one thread.
    private T Upload<T>(Func<DeviceQueue, T> load)
    {
        lock (_lock)
        {
            _queue ??= device.Context.CreateQueue();
            T loaded = load(_queue);
            _queue.Wait();
            return loaded;
        }
    }
}

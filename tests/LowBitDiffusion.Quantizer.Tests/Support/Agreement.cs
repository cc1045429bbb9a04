using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Autograd;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>
/// What is trained is what runs. Two statements about a network whose layers are in integers and the simulation they come from:
/// <code>
///   layer by layer    each integer layer reads what the simulation's layer reads: equal codes of weight and input without exception,
///                     and |y − ŷ| ≤ (K + 8)·2⁻²⁴·(Σ |q − z|·d·|w|·dw + |b|), the bound of a float sum of K products
///   network           each integer layer reads what the integer network computed: until the first code that differs nothing but float sums does, so that code's value lies
///                     on the border between two; where no code differs, the outputs do not either
/// </code>
/// </summary>
internal static class Agreement
{
    // Float sums of all layers before a quantizer, in its steps.
    private const double BorderWidth = 1e-3;

    /// <summary>Asserts both of a written folder and of the simulation that its codes and scales define, on pictures of which most have no value on a border.</summary>
    /// <param name="low">The folder.</param>
    /// <param name="plain">The float model it was made from.</param>
    /// <param name="component">Which of its networks; null for the denoiser.</param>
    public static void OfFolder(string low, string plain, string? component = null)
    {
        using SourceModel quantized = SourceModel.Open(low, component: component), original = SourceModel.Open(plain, component: component);
        using WorkerPool pool = new(2);
        Graph graph = quantized.Network is IAutoencoder autoencoder ? quantized.GraphFor(SmallPictures(autoencoder)) : quantized.Graph;
        TrainingModel simulation = new(original.Weights);
        foreach ((string name, QuantizedModule module) in quantized.Weights.QuantizedModules) simulation.Layers.Add(name, FakeQuantizedLayer.Frozen(module));
        float timestep = quantized.Quantization!.Timesteps.Count > 0 ? quantized.Quantization.Timesteps[^1] : 500;
        int[] differing = new int[5];
        for (int seed = 0; seed < differing.Length; seed++)
        {
            Dictionary<string, float[]> inputs = Networks.RandomInputs(graph, seed, timestep);
            OfLayers(graph, quantized.Weights, simulation, inputs, pool);
            differing[seed] = OfNetwork(graph, quantized.Weights, simulation, inputs, pool);
        }

        Assert.That(differing, Has.Some.Zero, $"codes that differ: {string.Join(' ', differing)}");
    }

    /// <summary>Asserts the first statement.</summary>
    /// <param name="graph">The network.</param>
    /// <param name="weights">Its weights, quantized layers among them.</param>
    /// <param name="simulation">The layers as they were learned, or as the file's codes define them.</param>
    /// <param name="inputs">Inputs of the network, all images at one timestep.</param>
    /// <param name="pool">Threads.</param>
    public static void OfLayers(Graph graph, ModelWeights weights, TrainingModel simulation, Dictionary<string, float[]> inputs, WorkerPool pool)
    {
        RunSettings settings = new() { Timesteps = TimestepsOf(graph, inputs), Record = false };
        Node[] layers = [.. graph.MatrixNodes.Where(node => weights.Quantized(((MatrixOp)node.Op).Module) is not null)];
        Assert.That(layers, Is.Not.Empty, "layers in integers");
        Tape tape = new GradientExecutor(simulation, pool).Run(GradientExecutor.Rows(graph, inputs), [.. layers, .. layers.Select(node => node.Inputs[0])], settings);
        foreach (Node node in layers)
        {
            MatrixOp op = (MatrixOp)node.Op;
            QuantizedModule module = weights.Quantized(op.Module)!;
            FakeQuantizedLayer layer = simulation.Layers[op.Module];
            TensorShape from = node.Inputs[0].Shape;
            float[] rows = tape[node.Inputs[0]], x = RowLayout.FromRows(rows, from);
            float[] quantized = Values(op, module, x, from, settings.Timesteps[0]), weight = Values(module);
            Close.Absolute(RowLayout.FromRows(layer.Input!.Forward(pool, op.Module, rows, from, settings), from), quantized, 0, $"{op.Module}: quantized input");
            Close.Absolute(layer.Weight.Values(pool), weight, 0, $"{op.Module}: quantized weight");

            float[] simulated = RowLayout.FromRows(tape[node], node.Shape), integers = QuantizedArithmetic.Run(op, module, x, from, node.Shape, settings.Timesteps[0]);
            (quantized, weight) = (Array.ConvertAll(quantized, Math.Abs), Array.ConvertAll(weight, Math.Abs));
            float[]? bias = module.Bias is { } b ? Array.ConvertAll(b, Math.Abs) : null;
            float[] magnitudes = op is Conv2dOp conv ? MatrixArithmetic.Conv2d(conv, quantized, from, node.Shape, weight, bias) : MatrixArithmetic.Linear((LinearOp)op, quantized, weight, bias);
            for (int i = 0; i < simulated.Length; i++)
            {
                double bound = (module.Depth + 8) * Math.Pow(2, -24) * magnitudes[i], error = Math.Abs((double)simulated[i] - integers[i]);
                if (!(error <= bound)) Assert.Fail($"{op.Module}: element {i} is {simulated[i]:R} simulated and {integers[i]:R} in integers, {error:E2} apart, where float sums allow {bound:E2}");
            }
        }
    }

    /// <summary>Asserts the second statement; returns how many codes differ in all layers.</summary>
    /// <param name="graph">The network.</param>
    /// <param name="weights">Its weights, quantized layers among them.</param>
    /// <param name="simulation">The layers as they were learned, or as the file's codes define them.</param>
    /// <param name="inputs">Inputs of the network, all images at one timestep.</param>
    /// <param name="pool">Threads.</param>
    public static int OfNetwork(Graph graph, ModelWeights weights, TrainingModel simulation, Dictionary<string, float[]> inputs, WorkerPool pool)
    {
        float[] timesteps = TimestepsOf(graph, inputs);
        float timestep = timesteps[0];
        Node[] layers = [.. graph.MatrixNodes.Where(node => weights.Quantized(((MatrixOp)node.Op).Module) is not null)], read = [.. layers.Select(node => node.Inputs[0]).Distinct()];
        Tape tape = new GradientExecutor(simulation, pool).Run(
            GradientExecutor.Rows(graph, inputs), [.. graph.Outputs.Values, .. read], new RunSettings { Timesteps = timesteps, Record = false });
        Dictionary<Node, float[]> computed = [];
        IReadOnlyDictionary<string, float[]> integers = ReferenceExecutor.Run(graph, weights, inputs, timestep, onNode: (node, value) =>
        {
            if (read.Contains(node)) computed.Add(node, [.. value]);
        });

        int differing = 0;
        foreach (Node node in layers)
        {
            MatrixOp op = (MatrixOp)node.Op;
            QuantizedModule module = weights.Quantized(op.Module)!;
            TensorShape from = node.Inputs[0].Shape;
            float[] one = RowLayout.FromRows(tape[node.Inputs[0]], from), other = computed[node.Inputs[0]];
            int[] simulatedCodes = Codes(op, module, one, from, timestep), integerCodes = Codes(op, module, other, from, timestep);
            int[] places = [.. Enumerable.Range(0, one.Length).Where(i => simulatedCodes[i] != integerCodes[i])];
            if (differing == 0)
            {
                foreach (int i in places)
                {
                    float step = Step(op, module, from, i, timestep);
                    Assert.That(Math.Abs(simulatedCodes[i] - integerCodes[i]), Is.EqualTo(1), $"{op.Module}: distance of the codes of element {i}");
                    Assert.That(Math.Abs((double)one[i] - other[i]) / step, Is.LessThan(BorderWidth), $"{op.Module}: nothing but rounding is between {one[i]:R} and {other[i]:R}, steps of {step}");
                    // Values on both sides of a border, so close to each other, are close to it.
                    Assert.That(Math.Abs(one[i] / step - Math.Floor(one[i] / step) - 0.5), Is.LessThan(2 * BorderWidth), $"{op.Module}: element {i} is {one[i] / step:R} steps");
                }
            }

            differing += places.Length;
        }

        if (differing > 0) return differing;
        foreach ((string name, Node node) in graph.Outputs) Close.RelativeToMax(RowLayout.FromRows(tape[node], node.Shape), integers[name], 2e-5, $"{name}, all codes being equal");
        return 0;
    }

    // Of the usual size there would hardly be a picture without a value on a border.
    private static Dictionary<string, TensorShape> SmallPictures(IAutoencoder network) => new()
    {
        ["image"] = new TensorShape(1, network.EncodedChannels, 2 * network.Factor, 2 * network.Factor),
        ["latent"] = new TensorShape(1, network.LatentChannels, 2, 2),
    };

    // A network without a timestep has tables of one entry.
    private static float[] TimestepsOf(Graph graph, Dictionary<string, float[]> inputs) => inputs.GetValueOrDefault("timestep") ?? new float[graph.Inputs.Values.First().Shape[0]];

    private static int[] Codes(MatrixOp op, QuantizedModule module, float[] x, TensorShape from, float timestep) =>
        QuantizedArithmetic.Quantize(module, x, op is Conv2dOp ? from[0] : x.Length / module.InChannels, timestep);

    /// <summary>What the codes of an input stand for, row-major: <c>(q − z)·d</c>.</summary>
    private static float[] Values(MatrixOp op, QuantizedModule module, float[] x, TensorShape from, float timestep)
    {
        int[] codes = Codes(op, module, x, from, timestep);
        float[] values = new float[x.Length];
        (float Step, int ZeroPoint)[] channels = [.. Enumerable.Range(0, module.InChannels).Select(channel => module.Input.At(timestep, SegmentOf(module, channel).InputSegment))];
        for (int i = 0; i < values.Length; i++)
        {
            (float d, int z) = channels[Channel(op, module, from, i)];
            values[i] = (codes[i] - z) * d;
        }

        return values;
    }

    /// <summary>What the codes of a weight stand for, row-major.</summary>
    private static float[] Values(QuantizedModule module)
    {
        // Codes may be made anew whenever they are asked for.
        sbyte[] codes = module.Codes;
        float[] values = new float[codes.Length];
        int groups = module.WeightScales.Length / module.OutChannels;
        foreach (ChannelSegment segment in module.Segments)
        {
            for (int o = 0; o < module.OutChannels; o++)
            {
                for (int i = o * module.Depth + segment.Start * module.Taps; i < o * module.Depth + (segment.Start + segment.Count) * module.Taps; i++)
                    values[i] = codes[i] * module.WeightScales[o * groups + segment.Group];
            }
        }

        return values;
    }

    /// <summary>Distance between two borders of an element's codes.</summary>
    private static float Step(MatrixOp op, QuantizedModule module, TensorShape from, int index, float timestep)
    {
        int channel = Channel(op, module, from, index);
        return module.Input.At(timestep, SegmentOf(module, channel).InputSegment).Scale * (module.InputChannelScales?[channel] ?? 1);
    }

    private static ChannelSegment SegmentOf(QuantizedModule module, int channel) => module.Segments.First(segment => channel < segment.Start + segment.Count);

    private static int Channel(MatrixOp op, QuantizedModule module, TensorShape from, int index) => op is Conv2dOp ? index / from.Positions % module.InChannels : index % module.InChannels;
}

using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>
/// Runs a graph node by node, slowly and obviously: row-major arrays (images NCHW), sums in double precision, no fusion. It is what every other executor is compared with.
/// Modules in integers follow the integer contract exactly, so that kernels must agree with it bit for bit given equal inputs.
/// </summary>
public static class ReferenceExecutor
{
    /// <summary>Computes the graph's outputs.</summary>
    /// <param name="graph">The network for the inputs' shapes.</param>
    /// <param name="weights">Its parameters.</param>
    /// <param name="inputs">Every input of the graph by name, row-major; integers as numbers.</param>
    /// <param name="timestepForTables">The timestep at which modules in integers look up their activation scales; needed if any has a table of more than one entry.</param>
    /// <param name="onTap">Called with each named module output; a node may carry several names.</param>
    /// <param name="onNode">Called with each node's value. The arrays given to both callbacks belong to the executor and must not be written to.</param>
    /// <param name="cancellationToken">Checked before each node.</param>
    /// <returns>The graph's outputs by name.</returns>
    /// <exception cref="InvalidRequestException">An input is missing, has another length, or an index is outside its table.</exception>
    /// <exception cref="ModelFormatException">A parameter is missing or has another shape.</exception>
    public static IReadOnlyDictionary<string, float[]> Run(
        Graph graph,
        ModelWeights weights,
        IReadOnlyDictionary<string, float[]> inputs,
        float? timestepForTables = null,
        Action<string, Node, float[]>? onTap = null,
        Action<Node, float[]>? onNode = null,
        CancellationToken cancellationToken = default)
    {
        ILookup<Node, string> taps = graph.Taps.ToLookup(tap => tap.Value, tap => tap.Key);
        ILookup<Node, string> outputs = graph.Outputs.ToLookup(output => output.Value, output => output.Key);
        ILookup<int, Node> lastUses = graph.Nodes
            .SelectMany(user => user.Inputs.Select(value => (Value: value, User: user.Id)))
            .GroupBy(use => use.Value, use => use.User)
            .ToLookup(uses => uses.Max(), uses => uses.Key);

        Dictionary<Node, float[]> values = [];
        Dictionary<string, float[]> results = [];
        foreach (Node node in graph.Nodes)
        {
            cancellationToken.ThrowIfCancellationRequested();
            float[] value = Compute(node, [.. node.Inputs.Select(input => values[input])], weights, inputs, timestepForTables);
            if (value.Length != node.Shape.Elements) throw new InvalidOperationException($"{node} computed {value.Length} elements");
            values[node] = value;
            onNode?.Invoke(node, value);
            foreach (string tap in taps[node]) onTap?.Invoke(tap, node, value);
            foreach (string output in outputs[node]) results[output] = value;
            foreach (Node unneeded in lastUses[node.Id]) values.Remove(unneeded);
        }

        return results;
    }

    private static float[] Compute(Node node, float[][] x, ModelWeights weights, IReadOnlyDictionary<string, float[]> inputs, float? timestep)
    {
        TensorShape shape = node.Shape;
        TensorShape[] from = [.. node.Inputs.Select(input => input.Shape)];
        float[] Weight(ModuleOp op, int index) => weights.Float(op.Parameters.ElementAt(index));
        float[]? Optional(ModuleOp op, int index) => op.Parameters.ElementAtOrDefault(index) is { } parameter ? weights.Float(parameter) : null;

        return node.Op switch
        {
            InputOp op => Input(op, shape, inputs),
            ConstantOp op => op.Data,
            ParameterOp op => Weight(op, 0),

            MatrixOp op when weights.Quantized(op.Module) is { } module => QuantizedArithmetic.Run(op, module, x[0], from[0], shape, TableTimestep(module, timestep)),
            Conv2dOp op => MatrixArithmetic.Conv2d(op, x[0], from[0], shape, Weight(op, 0), Optional(op, 1)),
            LinearOp op => MatrixArithmetic.Linear(op, x[0], Weight(op, 0), Optional(op, 1)),
            AttentionOp op when weights.AttentionOf(node) == AttentionPrecision.Int8 => QuantizedAttention.Run(op, x[0], x[1], x[2], from[0], from[2]),
            AttentionOp op when weights.AttentionOf(node) == AttentionPrecision.Bf16 => BrainFloatAttention.Run(op, x[0], x[1], x[2], from[0], from[2]),
            AttentionOp op => MatrixArithmetic.Attention(op, x[0], x[1], x[2], x.ElementAtOrDefault(3), from[0], from[2]),

            GroupNormOp op => NormArithmetic.GroupNorm(op, x[0], from[0], Weight(op, 0), Weight(op, 1)),
            LayerNormOp op => NormArithmetic.LayerNorm(op, x[0], Optional(op, 0), Optional(op, 1)),

            EmbeddingOp op => EmbeddingArithmetic.Lookup(op, x[0], Weight(op, 0), NameOf(node.Inputs[0])),
            TimestepEmbeddingOp op => EmbeddingArithmetic.Timestep(op, x[0]),
            FourierEmbeddingOp op => EmbeddingArithmetic.Fourier(x[0], Weight(op, 0)),

            ActivationOp op => ElementArithmetic.Activation(op.Kind, x[0]),
            AddOp => ElementArithmetic.Broadcast(x[0], from[0], x[1], from[1], (a, b) => a + b),
            MultiplyOp => ElementArithmetic.Broadcast(x[0], from[0], x[1], from[1], (a, b) => a * b),
            DivideOp => ElementArithmetic.DividePerImage(x[0], x[1]),
            ModulateOp => ElementArithmetic.Modulate(x[0], from[0], x[1], from[1], x[2], from[2]),
            AffineOp op => ElementArithmetic.Map(x[0], op.Offset == 0 ? a => op.Factor * a : a => op.Factor * a + op.Offset),
            GegluOp => ElementArithmetic.Geglu(x[0], shape.Channels),

            ConcatOp => LayoutArithmetic.Concat(x[0], from[0], x[1], from[1]),
            SliceOp op => LayoutArithmetic.Slice(x[0], from[0], op.Start, op.Length),
            UpsampleOp => LayoutArithmetic.Upsample(x[0], from[0], shape),
            AveragePoolOp => LayoutArithmetic.AveragePool(x[0], from[0], shape),
            ReshapeOp => x[0],
            UnpatchifyOp op => LayoutArithmetic.Unpatchify(x[0], shape, op.Patch),
            SelectTokenOp op => EmbeddingArithmetic.SelectToken(op, x[0], x[1], from[0]),
            NearestCodeOp op => EmbeddingArithmetic.NearestCode(op, x[0], Weight(op, 0)),
            ClampOp op => ElementArithmetic.Map(x[0], a => Math.Clamp(a, op.Minimum, op.Maximum)),
            ToTokensOp => LayoutArithmetic.Transpose(x[0], shape[0], shape[2], shape[1]),
            ToImageOp => LayoutArithmetic.Transpose(x[0], from[0][0], from[0][1], from[0][2]),
            _ => throw new NotSupportedException($"the reference executor has no arithmetic for {node.Op}"),
        };
    }

    private static float[] Input(InputOp op, TensorShape shape, IReadOnlyDictionary<string, float[]> inputs)
    {
        if (!inputs.TryGetValue(op.Name, out float[]? value)) throw new InvalidRequestException(op.Name, $"expected {shape}, found nothing");
        if (value.Length != shape.Elements) throw new InvalidRequestException(op.Name, $"expected the {shape.Elements} elements of {shape}, found {value.Length}");
        return value;
    }

    private static string NameOf(Node node) => node.Op is InputOp input ? input.Name : node.ToString();

    private static float TableTimestep(QuantizedModule module, float? timestep)
    {
        if (timestep is { } value) return value;
        if (module.Input.IsStatic) return 0;
        throw new InvalidRequestException("timestep", $"'{module.Name}' has a scale for each of {module.Input.Timesteps.Length} timesteps, and no timestep was given");
    }
}

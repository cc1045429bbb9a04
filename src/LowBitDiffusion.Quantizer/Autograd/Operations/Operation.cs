using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary>What operations of one pass share.</summary>
internal sealed class OperationContext(TrainingModel model, WorkerPool pool, RunSettings settings)
{
    private readonly Dictionary<string, float[]> _weights = [];

    public TrainingModel Model { get; } = model;

    public WorkerPool Pool { get; } = pool;

    public RunSettings Settings { get; } = settings;

    /// <summary>A layer's weight, with its quantization simulated where it is; computed once a pass.</summary>
    public float[] Weight(MatrixOp op)
    {
        if (!Model.Layers.TryGetValue(op.Module, out FakeQuantization.FakeQuantizedLayer? layer)) return Model.Float(op.Parameters.First());
        if (!_weights.TryGetValue(op.Module, out float[]? weight)) _weights.Add(op.Module, weight = layer.Weight.Values(Pool));
        return weight;
    }
}

/// <summary>A node's arithmetic and its derivative. Values are rows of channels.</summary>
internal abstract class Operation
{
    /// <summary>The node's value; may be one of the inputs.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">Values of the inputs.</param>
    public abstract float[] Forward(OperationContext context, float[][] x);

    /// <summary>Gradients of the inputs; adds those of parameters to their variables.</summary>
    /// <param name="context">The pass.</param>
    /// <param name="x">Values of the inputs.</param>
    /// <param name="y">The node's value.</param>
    /// <param name="dy">Its gradient; may be handed on, must not be written to.</param>
    /// <param name="wanted">Inputs whose gradient is needed; others may be null.</param>
    public abstract float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted);

    /// <summary>The operation of a node.</summary>
    /// <exception cref="InvalidRequestException">The node is an input that was not given.</exception>
    /// <exception cref="NotSupportedException">There is none for its op.</exception>
    public static Operation Of(Node node) => node.Op switch
    {
        InputOp op => throw new InvalidRequestException(op.Name, $"expected {node.Shape}, found nothing"),
        ConstantOp op => new ConstantOperation(RowLayout.ToRows(op.Data, node.Shape)),
        ParameterOp op => new ParameterOperation(op, node.Shape),
        TimestepEmbeddingOp or FourierEmbeddingOp or NearestCodeOp => new LeafOperation(node),
        EmbeddingOp op => new EmbeddingOperation(op, node.Inputs[0]),
        MatrixOp op => new MatrixOperation(op, node),
        AttentionOp op => new AttentionOperation(op, node),
        GroupNormOp op => new GroupNormOperation(op, node.Shape),
        LayerNormOp op => new LayerNormOperation(op, node.Shape),
        ActivationOp op => new ActivationOperation(op.Kind),
        AddOp => new AddOperation(new Broadcast(node.Shape, node.Inputs[1].Shape)),
        MultiplyOp => new MultiplyOperation(new Broadcast(node.Shape, node.Inputs[1].Shape)),
        ModulateOp => new ModulateOperation(new Broadcast(node.Shape, node.Inputs[1].Shape), new Broadcast(node.Shape, node.Inputs[2].Shape)),
        AffineOp op => new AffineOperation(op),
        DivideOp => new DivideOperation(),
        ClampOp op => new ClampOperation(op),
        GegluOp => new GegluOperation(node.Shape.Channels),
        ConcatOp => new ConcatOperation(node.Inputs[0].Shape.Channels, node.Inputs[1].Shape.Channels),
        SliceOp op => new SliceOperation(node.Inputs[0].Shape.Channels, op),
        UpsampleOp => new UpsampleOperation(node.Inputs[0].Shape, node.Shape),
        AveragePoolOp => new AveragePoolOperation(node.Inputs[0].Shape, node.Shape),
        UnpatchifyOp op => new UnpatchifyOperation(node.Shape, op.Patch),
        SelectTokenOp op => new SelectTokenOperation(op, node.Inputs[0].Shape),
        ToTokensOp or ToImageOp or ReshapeOp => new IdentityOperation(),
        _ => throw new NotSupportedException($"there is no derivative of {node.Op}"),
    };
}

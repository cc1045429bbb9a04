using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Everything that is neither a layer nor fused into one: sums, products, pooling, tables, embeddings.</summary>
internal sealed unsafe class ElementStep : PlanStep
{
    private readonly Node _node;
    private readonly Storage[] _inputs;
    private readonly Storage _output;
    private float* _table;

    public ElementStep(Node node, Storage[] inputs, Storage output) => (_node, _inputs, _output) = (node, inputs, output);

    public override string Kind => _node.Op.GetType().Name.Replace("Op", "", StringComparison.Ordinal).ToLowerInvariant();

    public override IEnumerable<Region> Regions => [.. _inputs.Select(i => i.Region), _output.Region];

    public override void Load(PackedModel model) => _table = _node.Op switch
    {
        ConstantOp constant => model.Constant(constant),
        EmbeddingOp or FourierEmbeddingOp or ParameterOp => model.Vector(((ModuleOp)_node.Op).Parameters.First()),
        _ => null,
    };

    public override void Run(PlanContext context)
    {
        TensorShape shape = _node.Shape;
        RowShape rows = new(shape[0], _output.Rows / shape[0], _output.Channels);
        RowView output = context.View(_output), x = _inputs.Length > 0 ? context.View(_inputs[0]) : default, y = _inputs.Length > 1 ? context.View(_inputs[1]) : default;
        switch (_node.Op)
        {
            case AddOp:
                Arithmetic.Add(context.Pool, rows, x, Second(context), BroadcastOf(_node.Inputs[1]), output);
                break;
            case MultiplyOp:
                Arithmetic.Multiply(context.Pool, rows, x, Second(context), BroadcastOf(_node.Inputs[1]), output);
                break;
            case AffineOp op:
                Arithmetic.Affine(context.Pool, rows, x, op.Factor, op.Offset, output);
                break;
            case DivideOp:
                Arithmetic.Divide(context.Pool, rows, x, y.Data, output);
                break;
            case GegluOp:
                Activations.Geglu(context.Pool, rows, x, output);
                break;
            case AveragePoolOp:
                TensorShape image = _node.Inputs[0].Shape;
                Resampling.AveragePool(context.Pool, image[0], image[2], image[3], image[1], x, output);
                break;
            case TimestepEmbeddingOp op:
                Embeddings.Sinusoidal(x.Data, shape[0], op.Features, op.CosineFirst, op.Shift, output);
                break;
            case FourierEmbeddingOp op:
                Embeddings.Fourier(x.Data, shape[0], _table, op.Frequencies, output);
                break;
            case EmbeddingOp op:
                Gather(op, x.Data, output);
                break;
            case ParameterOp or ConstantOp:
                Buffer.MemoryCopy(_table, output.Data, shape.Elements * sizeof(float), shape.Elements * sizeof(float));
                break;
            default:
                throw new InvalidOperationException($"no kernel for {_node}");
        }
    }

    // A vector with one row serves all images.
    private RowView Second(PlanContext context)
    {
        RowView view = context.View(_inputs[1]);
        return BroadcastOf(_node.Inputs[1]) == Broadcast.PerImage && _inputs[1].Rows == 1 ? new RowView(view.Data, 0) : view;
    }

    private Broadcast BroadcastOf(Node second)
    {
        if (second.Shape.Equals(_node.Shape)) return Broadcast.None;
        return second.Shape.Rank == 2 && (_node.Shape.Rank > 2 || second.Shape[0] == 1) ? Broadcast.PerImage : Broadcast.Table;
    }

    private void Gather(EmbeddingOp op, float* indices, RowView output)
    {
        for (int i = 0; i < _output.Rows; i++)
        {
            int row = (int)indices[i];
            if ((uint)row >= (uint)op.Rows) throw new InvalidRequestException(op.Module, $"expected an index from 0 to {op.Rows - 1}, found {indices[i]}");
            Buffer.MemoryCopy(_table + (long)row * op.Features, output.Row(i), op.Features * sizeof(float), op.Features * sizeof(float));
        }
    }
}

/// <summary>Attention in single precision.</summary>
internal sealed unsafe class AttentionStep(Node node, Storage[] inputs, Storage output, Region scratch) : PlanStep
{
    public override string Kind => "attention f32";

    public override long Macs => (long)node.Shape[0] * node.Shape[1] * inputs[1].Rows / node.Shape[0] * (inputs[0].Channels + inputs[2].Channels);

    public override IEnumerable<Region> Regions => [.. inputs.Select(i => i.Region), output.Region, scratch];

    /// <summary>Shapes of the kernel's job, without addresses.</summary>
    public static AttentionJob Shape(Node node)
    {
        AttentionOp op = (AttentionOp)node.Op;
        TensorShape query = node.Inputs[0].Shape;
        int width = query[2] / op.Heads;
        return new AttentionJob
        {
            Batch = query[0],
            Heads = op.Heads,
            Queries = query[1],
            Keys = node.Inputs[1].Shape[1],
            HeadWidth = width,
            ValueWidth = node.Inputs[2].Shape[2] / op.Heads,
            Scale = 1 / MathF.Sqrt(width),
            Causal = op.Causal,
        };
    }

    public override void Run(PlanContext context)
    {
        AttentionJob job = Shape(node);
        job.Query = context.View(inputs[0]);
        job.Key = context.View(inputs[1]);
        job.Value = context.View(inputs[2]);
        job.Output = context.View(output);
        if (inputs.Length > 3)
        {
            job.Mask = context.Floats(inputs[3]);
            job.MaskStride = inputs[3].Rows == 1 ? 0 : inputs[3].Stride;
        }

        FloatAttention.Run(context.Pool, job, context.Bytes(scratch));
    }
}

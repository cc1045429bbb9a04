using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Everything that is neither a layer nor fused into one: sums, products, pooling, tables, embeddings.</summary>
internal sealed unsafe partial class ElementStep : PlanStep
{
    private readonly Node _node;
    private readonly Storage[] _inputs;
    private readonly Storage _output;
    private float* _table;

    public ElementStep(Node node, Storage[] inputs, Storage output) => (_node, _inputs, _output) = (node, inputs, output);

    public override string Kind => _node.Op.GetType().Name.Replace("Op", "", StringComparison.Ordinal).ToLowerInvariant();

    public override IEnumerable<Region> Reads => _inputs.Select(i => i.Region);

    public override IEnumerable<Region> Writes => [_output.Region];

    public override void Load(PackedModel model) => _table = _node.Op switch
    {
        ConstantOp constant => model.Constant(constant),
        EmbeddingOp or FourierEmbeddingOp or ParameterOp or NearestCodeOp => model.Vector(((ModuleOp)_node.Op).Parameters.First()),
        _ => null,
    };

    public override void Run(PlanContext context)
    {
        RowView output = context.View(_output), x = _inputs.Length > 0 ? context.View(_inputs[0]) : default;
        switch (_node.Op)
        {
            case ActivationOp { Kind: ActivationKind.Exp }:
                Exp(x, output);
                break;
            case SelectTokenOp op:
                SelectToken(op.EndToken, x, context.View(_inputs[1]), output);
                break;
            case NearestCodeOp op:
                NearestCode(op, x, output);
                break;
            case TimestepEmbeddingOp op:
                Embeddings.Sinusoidal(x.Data, _node.Shape[0], op.Features, op.CosineFirst, op.Shift, output);
                break;
            case FourierEmbeddingOp op:
                Embeddings.Fourier(x.Data, _node.Shape[0], _table, op.Frequencies, output);
                break;
            case EmbeddingOp op:
                Gather(op, x.Data, output);
                break;
            default:
                Apply<HostElements, RowView>(new HostElements(context, _table));
                break;
        }
    }

    /// <summary>The operations that have a form on devices too.</summary>
    private void Apply<TKernels, TRows>(TKernels kernels) where TKernels : IElementKernels<TRows> where TRows : struct
    {
        TensorShape shape = _node.Shape;
        RowShape rows = new(shape[0], _output.Rows / shape[0], _output.Channels);
        Broadcast broadcast = _inputs.Length > 1 ? BroadcastOf(_node.Inputs[1]) : Broadcast.None;
        TRows output = kernels.Rows(_output), x = _inputs.Length > 0 ? kernels.Rows(_inputs[0]) : default, y = _inputs.Length > 1 ? kernels.Rows(_inputs[1]) : default;
        // A vector with one row serves all images.
        if (broadcast == Broadcast.PerImage && _inputs[1].Rows == 1) y = kernels.Repeated(y);
        switch (_node.Op)
        {
            case AddOp:
                kernels.Add(rows, x, y, broadcast, output);
                break;
            case MultiplyOp:
                kernels.Multiply(rows, x, y, broadcast, output);
                break;
            case DivideOp:
                kernels.Divide(rows, x, y, output);
                break;
            case AffineOp op:
                kernels.Affine(rows, x, op.Factor, op.Offset, output);
                break;
            case ClampOp op:
                kernels.Clamp(rows, x, op.Minimum, op.Maximum, output);
                break;
            case GegluOp:
                kernels.Geglu(rows, x, output);
                break;
            case AveragePoolOp:
                TensorShape image = _node.Inputs[0].Shape;
                kernels.AveragePool(rows, image[2], image[3], x, output);
                break;
            case UnpatchifyOp op:
                kernels.Unpatchify(rows, op.Patch, shape[2], shape[3], x, output);
                break;
            case ParameterOp or ConstantOp:
                kernels.CopyTable(rows, output);
                break;
            default:
                throw new InvalidOperationException($"no kernel for {_node}");
        }
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

    // Runs on the few values of an autoencoder's moments.
    private void Exp(RowView x, RowView output)
    {
        for (int row = 0; row < _output.Rows; row++)
        {
            for (int c = 0; c < _output.Channels; c++) output.Row(row)[c] = MathF.Exp(x.Row(row)[c]);
        }
    }

    private void SelectToken(int? endToken, RowView x, RowView ids, RowView output)
    {
        int length = _node.Inputs[1].Shape[1], bytes = _output.Channels * sizeof(float);
        for (int n = 0; n < _output.Rows; n++)
        {
            ReadOnlySpan<float> sequence = new(ids.Row(n), length);
            int position = 0;
            if (endToken is { } end) position = Math.Max(sequence.IndexOf(end), 0);
            else
            {
                for (int i = 1; i < length; i++) position = sequence[i] > sequence[position] ? i : position;
            }

            Buffer.MemoryCopy(x.Row(n * length + position), output.Row(n), bytes, bytes);
        }
    }

    private void NearestCode(NearestCodeOp op, RowView x, RowView output)
    {
        for (int token = 0; token < _inputs[0].Rows; token++)
        {
            float* vector = x.Row(token);
            (double best, int code) = (double.PositiveInfinity, 0);
            for (int row = 0; row < op.Rows; row++)
            {
                double distance = 0;
                for (int c = 0; c < op.Features; c++)
                {
                    double difference = (double)vector[c] - _table[(long)row * op.Features + c];
                    distance += difference * difference;
                }

                if (distance < best) (best, code) = (distance, row);
            }

            output.Data[token] = code;
        }
    }
}

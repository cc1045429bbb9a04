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

    public override IEnumerable<Region> Regions => [.. _inputs.Select(i => i.Region), _output.Region];

    public override void Load(PackedModel model) => _table = _node.Op switch
    {
        ConstantOp constant => model.Constant(constant),
        EmbeddingOp or FourierEmbeddingOp or ParameterOp or NearestCodeOp => model.Vector(((ModuleOp)_node.Op).Parameters.First()),
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
            case ClampOp or ActivationOp { Kind: ActivationKind.Exp }:
                Map(_node.Op, x, output);
                break;
            case UnpatchifyOp op:
                Unpatchify(op.Patch, x, output);
                break;
            case SelectTokenOp op:
                SelectToken(op.EndToken, x, y, output);
                break;
            case NearestCodeOp op:
                NearestCode(op, x, output);
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

    // Runs on the few values of an autoencoder's moments.
    private void Map(Op op, RowView x, RowView output)
    {
        for (int row = 0; row < _output.Rows; row++)
        {
            float* from = x.Row(row), to = output.Row(row);
            for (int c = 0; c < _output.Channels; c++) to[c] = op is ClampOp clamp ? Math.Clamp(from[c], clamp.Minimum, clamp.Maximum) : MathF.Exp(from[c]);
        }
    }

    // A token holds its square row by row, the channels of a pixel side by side: in NHWC a row of the square is one run of memory.
    private void Unpatchify(int patch, RowView x, RowView output)
    {
        int channels = _output.Channels, width = _node.Shape[3], height = _node.Shape[2], columns = width / patch, run = patch * channels;
        for (int n = 0; n < _node.Shape[0]; n++)
        {
            for (int row = 0; row < height; row++)
            {
                for (int column = 0; column < columns; column++)
                {
                    float* from = x.Row((n * (height / patch) + row / patch) * columns + column) + row % patch * run;
                    Buffer.MemoryCopy(from, output.Row((n * height + row) * width + column * patch), run * sizeof(float), run * sizeof(float));
                }
            }
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

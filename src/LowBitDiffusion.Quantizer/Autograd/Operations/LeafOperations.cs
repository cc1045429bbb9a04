using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary><see cref="ConstantOp"/>.</summary>
internal sealed class ConstantOperation(float[] rows) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => rows;

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) => [];
}

/// <summary><see cref="ParameterOp"/>.</summary>
internal sealed class ParameterOperation(ParameterOp op, TensorShape shape) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => RowLayout.ToRows(context.Model.Float(op.Parameters.First()), shape);

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        context.Model.Trainable(op.Parameters.First())?.AddGradient(RowLayout.FromRows(dy, shape));
        return [];
    }
}

/// <summary>Functions of timesteps and indices, which have no gradient.</summary>
internal sealed class LeafOperation(Node node) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => node.Op switch
    {
        TimestepEmbeddingOp op => EmbeddingArithmetic.Timestep(op, x[0]),
        FourierEmbeddingOp op => EmbeddingArithmetic.Fourier(x[0], context.Model.Float(op.Parameters.First())),
        NearestCodeOp op => EmbeddingArithmetic.NearestCode(op, x[0], context.Model.Float(op.Parameters.First())),
        _ => throw new NotSupportedException($"{node.Op} is not a leaf"),
    };

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted) => new float[]?[x.Length];
}

/// <summary><see cref="EmbeddingOp"/>.</summary>
internal sealed class EmbeddingOperation(EmbeddingOp op, Node indices) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) =>
        EmbeddingArithmetic.Lookup(op, x[0], context.Model.Float(op.Parameters.First()), indices.Op is InputOp input ? input.Name : indices.ToString());

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        if (context.Model.Trainable(op.Parameters.First()) is { } table)
        {
            for (int i = 0; i < x[0].Length; i++)
            {
                Span<float> row = table.Gradient.AsSpan((int)x[0][i] * op.Features, op.Features);
                Vectors.Map(row, dy.AsSpan(i * op.Features, op.Features), default, row, new Sum());
            }
        }

        return [null];
    }
}

/// <summary><see cref="SelectTokenOp"/>.</summary>
internal sealed class SelectTokenOperation(SelectTokenOp op, TensorShape tokens) : Operation
{
    public override float[] Forward(OperationContext context, float[][] x) => EmbeddingArithmetic.SelectToken(op, x[0], x[1], tokens);

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        // Which token was taken, found by taking its number.
        int length = tokens[1], channels = tokens[2];
        float[] numbers = [.. Enumerable.Range(0, tokens[0] * length).Select(i => (float)(i % length))];
        float[] taken = EmbeddingArithmetic.SelectToken(op, numbers, x[1], new TensorShape(tokens[0], length, 1)), dx = new float[x[0].Length];
        for (int n = 0; n < taken.Length; n++) dy.AsSpan(n * channels, channels).CopyTo(dx.AsSpan((n * length + (int)taken[n]) * channels));
        return [dx, null];
    }
}

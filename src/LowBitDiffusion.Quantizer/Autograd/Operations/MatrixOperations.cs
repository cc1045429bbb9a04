using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Gradients;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary>
/// <see cref="Conv2dOp"/> and <see cref="LinearOp"/>, float or with simulated quantization of weight and input. The quantized input is computed again by the backward pass instead of being kept.
/// </summary>
internal sealed class MatrixOperation(MatrixOp op, Node node) : Operation
{
    private readonly TensorShape _from = node.Inputs[0].Shape;
    private readonly LayerShape _shape = Shape(op, node.Inputs[0].Shape);

    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = Vectors.Allocate(node.Shape.Elements);
        LayerGradients.Forward(context.Pool, _shape, Input(context, x[0]), context.Weight(op), BiasParameter is { } bias ? context.Model.Float(bias) : default, y);
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        FakeQuantizedLayer? layer = context.Model.Layers.TryGetValue(op.Module, out FakeQuantizedLayer? found) ? found : null;
        Variable? plain = layer is null ? context.Model.Trainable(op.Parameters.First()) : null;
        if (plain is not null || layer?.Weight.Variables.Any(variable => variable.Trainable) == true)
        {
            float[] gradient = Vectors.Allocate(_shape.Weights);
            LayerGradients.Weight(context.Pool, _shape, Input(context, x[0]), dy, gradient);
            plain?.AddGradient(gradient);
            layer?.Weight.Backward(context.Pool, gradient);
        }

        if (context.Model.Trainable(BiasParameter) is { } bias)
        {
            int rows = dy.Length / _shape.OutChannels;
            Broadcast single = new(new TensorShape(rows, _shape.OutChannels), new TensorShape(1, _shape.OutChannels));
            bias.AddGradient(single.Reduce(context.Pool, dy));
        }

        if (!wanted[0] && layer?.Input?.Learns != true) return [null];
        float[] dx = Vectors.Allocate(x[0].Length);
        LayerGradients.Input(context.Pool, _shape, dy, context.Weight(op), dx);
        return [layer?.Input is { } quantizer ? quantizer.Backward(context.Pool, op.Module, x[0], _from, context.Settings, dx) : dx];
    }

    private Parameter? BiasParameter => op.Parameters.ElementAtOrDefault(1);

    private float[] Input(OperationContext context, float[] x) =>
        context.Model.Layers.TryGetValue(op.Module, out FakeQuantizedLayer? layer) && layer.Input is { } quantizer ? quantizer.Forward(context.Pool, op.Module, x, _from, context.Settings) : x;

    private static LayerShape Shape(MatrixOp op, TensorShape from) => op switch
    {
        Conv2dOp conv => new LayerShape(
            from[0], from[2], from[3], conv.InChannels, conv.OutChannels, conv.Kernel, conv.Stride, conv.Padding.Top, conv.Padding.Left, conv.Padding.Bottom, conv.Padding.Right),
        LinearOp linear => LayerShape.Linear((int)(from.Elements / linear.InFeatures), linear.InFeatures, linear.OutFeatures),
        _ => throw new NotSupportedException($"there is no derivative of {op}"),
    };
}

/// <summary><see cref="AttentionOp"/>; the mask has no gradient.</summary>
internal sealed class AttentionOperation(AttentionOp op, Node node) : Operation
{
    private readonly AttentionShape _shape = new(
        node.Shape[0], op.Heads, node.Shape[1], node.Inputs[1].Shape[1], node.Inputs[0].Shape[2] / op.Heads, node.Shape[2] / op.Heads, op.Causal);

    public override float[] Forward(OperationContext context, float[][] x)
    {
        float[] y = Vectors.Allocate(node.Shape.Elements);
        AttentionGradients.Forward(context.Pool, _shape, x[0], x[1], x[2], x.ElementAtOrDefault(3), y);
        return y;
    }

    public override float[]?[] Backward(OperationContext context, float[][] x, float[] y, float[] dy, bool[] wanted)
    {
        float[] dq = Vectors.Allocate(x[0].Length), dk = Vectors.Allocate(x[1].Length), dv = Vectors.Allocate(x[2].Length);
        AttentionGradients.Backward(context.Pool, _shape, x[0], x[1], x[2], x.ElementAtOrDefault(3), dy, dq, dk, dv);
        return x.Length == 4 ? [dq, dk, dv, null] : [dq, dk, dv];
    }
}

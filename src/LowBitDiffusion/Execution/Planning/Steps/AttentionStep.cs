using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Attention;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Attention in single precision or in 8-bit integers.</summary>
internal sealed unsafe partial class AttentionStep(Node node, bool inIntegers, Storage[] inputs, Storage output, Region scratch) : PlanStep
{
    private Int8Attention? _kernel;

    public override string Kind { get; } = inIntegers ? "attention i8" : "attention f32";

    public override long Macs => (long)node.Shape[0] * node.Shape[1] * inputs[1].Rows / node.Shape[0] * (inputs[0].Channels + inputs[2].Channels);

    public override IEnumerable<Region> Regions => [.. inputs.Select(i => i.Region), output.Region, scratch];

    /// <summary>Bytes of scratch that the kernel needs.</summary>
    public static long ScratchBytes(Node node, bool inIntegers, int threads) =>
        inIntegers ? Int8Attention.ScratchBytes(Shape(node), threads) : FloatAttention.ScratchBytes(Shape(node), threads);

    public override void Load(PackedModel model) => _kernel = inIntegers ? model.Attention : null;

    private static AttentionJob Shape(Node node)
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

        if (_kernel is null) FloatAttention.Run(context.Pool, job, context.Bytes(scratch));
        else _kernel.Run(context.Pool, job, context.Bytes(scratch));
    }
}

using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Attention in single precision, 8-bit integers or bfloat16.</summary>
internal sealed unsafe partial class AttentionStep(Node node, AttentionPrecision precision, Storage[] inputs, Storage output, Region scratch) : PlanStep
{
    private Int8Attention? _int8;
    private Bf16Attention? _bf16;

    public override string Kind { get; } = precision switch { AttentionPrecision.Int8 => "attention i8", AttentionPrecision.Bf16 => "attention bf16", _ => "attention f32" };

    public override long Macs => (long)node.Shape[0] * node.Shape[1] * inputs[1].Rows / node.Shape[0] * (inputs[0].Channels + inputs[2].Channels);

    public override IEnumerable<Region> Reads => inputs.Select(i => i.Region);

    public override IEnumerable<Region> Writes => [output.Region, scratch];

    /// <summary>Bytes of scratch that the kernel needs.</summary>
    public static long ScratchBytes(Node node, AttentionPrecision precision, int threads) => precision switch
    {
        AttentionPrecision.Int8 => Int8Attention.ScratchBytes(Shape(node), threads),
        AttentionPrecision.Bf16 => Bf16Attention.ScratchBytes(Shape(node), threads),
        _ => FloatAttention.ScratchBytes(Shape(node), threads),
    };

    public override void Load(PackedModel model)
    {
        if (precision == AttentionPrecision.Int8) _int8 = model.Int8Attention;
        if (precision == AttentionPrecision.Bf16) _bf16 = model.Bf16Attention;
    }

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

        void* memory = context.Bytes(scratch);
        if (_int8 is not null) _int8.Run(context.Pool, job, memory);
        else if (_bf16 is not null) _bf16.Run(context.Pool, job, memory);
        else FloatAttention.Run(context.Pool, job, memory);
    }
}

using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Feeds a layer: normalises, activates, resizes and writes padded codes or floats in one pass (<see cref="StagingPass"/>).</summary>
internal sealed unsafe partial class StageStep(
    StageExpression expression, Storage[] sources, NormFold? fold, Padding padding, InputQuantizer? quantizer, Region destination) : PlanStep
{
    public override string Kind => quantizer is null ? "stage f32" : "stage u8";

    public override IEnumerable<Region> Reads => [.. sources.Select(s => s.Region), .. fold is null ? [] : new[] { fold.Region }];

    public override IEnumerable<Region> Writes => [destination];

    public override void Run(PlanContext context)
    {
        StagingJob job = new()
        {
            First = context.View(sources[0]),
            FirstChannels = sources[0].Channels,
            Batch = expression.Batch,
            SourceHeight = expression.Height,
            SourceWidth = expression.Width,
            Height = expression.OutHeight,
            Width = expression.OutWidth,
            Top = padding.Top,
            Left = padding.Left,
            Bottom = padding.Bottom,
            Right = padding.Right,
            Activation = Map(expression.Activation),
        };
        if (sources.Length == 2)
        {
            job.Second = context.View(sources[1]);
            job.SecondChannels = sources[1].Channels;
        }

        fold?.Apply(context, ref job);
        if (quantizer is null)
        {
            StagingPass.Store(context.Pool, job, (float*)context.Bytes(destination));
            return;
        }

        job.Quantizer = new ChannelQuantizer(quantizer.Inverse[0], quantizer.ZeroPoints[0]);
        job.SplitChannel = quantizer.SplitChannel;
        job.SplitQuantizer = new ChannelQuantizer(quantizer.Inverse[1], quantizer.ZeroPoints[1]);
        job.InverseScales = quantizer.ChannelInverse;
        job.MaxCode = quantizer.MaxCode;
        StagingPass.Quantize(context.Pool, job, context.Bytes(destination));
    }

    /// <summary>The kernels' name of an activation.</summary>
    public static Activation Map(ActivationKind? kind) => kind switch
    {
        null => Activation.None,
        ActivationKind.Silu => Activation.Silu,
        ActivationKind.Gelu => Activation.Gelu,
        ActivationKind.GeluTanh => Activation.GeluTanh,
        ActivationKind.QuickGelu => Activation.QuickGelu,
        _ => throw new InvalidOperationException($"no kernel for {kind}"),
    };
}

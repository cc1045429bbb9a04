using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Brings an input from the caller's layout (row-major, channels before pixels) into the plan's (NHWC).</summary>
internal sealed unsafe partial class InputStep(int slot, TensorShape shape, Storage destination) : PlanStep
{
    public override string Kind => "input";

    /// <summary>Whether the caller's layout is the plan's.</summary>
    public bool IsCopied => shape.Rank != 4;

    public override IEnumerable<Region> Reads => [];

    public override IEnumerable<Region> Writes => [destination.Region];

    public override void Run(PlanContext context)
    {
        float* source = context.Slots[slot];
        if (!IsCopied) Layout.ToRows(context.Pool, new RowShape(shape[0], shape.Positions, shape.Channels), source, context.View(destination));
        else Buffer.MemoryCopy(source, context.Floats(destination), shape.Elements * sizeof(float), shape.Elements * sizeof(float));
    }
}

/// <summary>Hands an output back in the caller's layout, or as the bytes of pictures.</summary>
internal sealed unsafe partial class OutputStep(int slot, TensorShape shape, Storage source) : PlanStep
{
    public override string Kind => "output";

    public override IEnumerable<Region> Reads => [source.Region];

    public override IEnumerable<Region> Writes => [];

    public override void Run(PlanContext context)
    {
        float* destination = context.Slots[slot];
        RowShape rows = shape.Rank == 4 ? new(shape[0], shape.Positions, shape.Channels) : new(1, source.Rows, source.Channels);
        if (context.OutputsPixels) Pixels.FromRows(context.Pool, rows, context.View(source), (byte*)destination);
        else if (shape.Rank == 4) Layout.ToPlanes(context.Pool, rows, context.View(source), destination);
        else Layout.Copy(context.Pool, rows, context.View(source), new RowView(destination, source.Channels));
    }
}

/// <summary>Shows a value to whoever watches the run.</summary>
internal sealed unsafe partial class ObserveStep(Node node, Storage source) : PlanStep
{
    public override string Kind => "observe";

    public override IEnumerable<Region> Reads => [source.Region];

    public override IEnumerable<Region> Writes => [];

    public override void Run(PlanContext context)
    {
        if (context.Observer is not { } observer) return;
        if (source.IsDense)
        {
            observer(node, new ReadOnlySpan<float>(context.Floats(source), source.Rows * source.Channels));
            return;
        }

        float[] dense = new float[source.Rows * source.Channels];
        fixed (float* copy = dense)
            Layout.Copy(context.Pool, new RowShape(1, source.Rows, source.Channels), context.View(source), new RowView(copy, source.Channels));
        observer(node, dense);
    }
}

/// <summary>Gathers the rows of a slice.</summary>
internal sealed unsafe partial class CopyStep(Storage source, Storage destination) : PlanStep
{
    public override string Kind => "copy";

    public override IEnumerable<Region> Reads => [source.Region];

    public override IEnumerable<Region> Writes => [destination.Region];

    public override void Run(PlanContext context) =>
        Layout.Copy(context.Pool, new RowShape(1, source.Rows, source.Channels), context.View(source), new RowView(context.View(destination).Data, source.Channels));
}

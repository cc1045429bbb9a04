using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>
/// What a staging pass applies, read off the graph from a node down to stored values:
/// <c>upsample(activation(modulate(norm(concat(sources)))))</c>, every part optional.
/// </summary>
internal sealed class StageExpression
{
    private StageExpression(Node[] sources)
    {
        Sources = sources;
        Channels = sources.Sum(s => s.Shape.Channels);
    }

    /// <summary>One stored value, or two whose channels are concatenated.</summary>
    public Node[] Sources { get; }

    /// <summary>The normalisation, or null.</summary>
    public Node? Norm { get; private init; }

    /// <summary>The modulation <c>x·(1 + scale) + shift</c>, or null.</summary>
    public Node? Modulation { get; private init; }

    /// <summary>The activation, or null.</summary>
    public ActivationKind? Activation { get; private init; }

    /// <summary>The nearest-neighbour upsampling, or null.</summary>
    public UpsampleOp? Upsample { get; private init; }

    /// <summary>Whether the pass would only copy one source.</summary>
    public bool IsPlain => Sources.Length == 1 && Norm is null && Modulation is null && Activation is null && Upsample is null;

    /// <summary>Channels of all sources.</summary>
    public int Channels { get; }

    /// <summary>Images.</summary>
    public int Batch => Sources[0].Shape[0];

    /// <summary>Rows of a source image; tokens count as rows of one column.</summary>
    public int Height => Sources[0].Shape.Rank == 4 ? Sources[0].Shape[2] : Sources[0].Shape.Positions;

    /// <summary>Columns of a source image.</summary>
    public int Width => Sources[0].Shape.Rank == 4 ? Sources[0].Shape[3] : 1;

    /// <summary>Rows of the result, without padding.</summary>
    public int OutHeight => Upsample?.Height ?? Height;

    /// <summary>Columns of the result, without padding.</summary>
    public int OutWidth => Upsample?.Width ?? Width;

    /// <summary>The expression that a consumer of <paramref name="node"/> applies: the node itself where its value is stored.</summary>
    public static StageExpression ForConsumer(Node node, Fusion fusion) => Read(node, fusion.IsStaged(node), fusion);

    /// <summary>The expression that computes <paramref name="node"/>, whose value is stored.</summary>
    public static StageExpression ForStored(Node node, Fusion fusion) => Read(node, true, fusion);

    private static StageExpression Read(Node node, bool apply, Fusion fusion)
    {
        UpsampleOp? upsample = null;
        ActivationKind? activation = null;
        Node? modulation = null, norm = null;
        Node[]? sources = null;
        for (Node current = node; sources is null; current = current.Inputs[0], apply = fusion.IsStaged(current))
        {
            if (!apply)
            {
                sources = [current];
                break;
            }

            switch (current.Op)
            {
                case UpsampleOp op: upsample = op; break;
                case ActivationOp op: activation = op.Kind; break;
                case ModulateOp: modulation = current; break;
                case GroupNormOp or LayerNormOp: norm = current; break;
                case ConcatOp: sources = [.. current.Inputs]; break;
            }
        }

        return new(sources) { Norm = norm, Modulation = modulation, Activation = activation, Upsample = upsample };
    }
}

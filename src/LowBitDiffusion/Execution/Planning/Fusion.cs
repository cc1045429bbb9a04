using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>A matrix node with everything its epilogue takes over: the nodes from <see cref="Matrix"/> to <see cref="Result"/> become one step.</summary>
internal sealed class MatrixGroup(Node matrix)
{
    /// <summary>The convolution or linear layer.</summary>
    public Node Matrix { get; } = matrix;

    /// <summary>The op's attributes.</summary>
    public MatrixOp Op => (MatrixOp)Matrix.Op;

    /// <summary>Vector added to all pixels of an image, or null.</summary>
    public Node? ImageVector { get; set; }

    /// <summary>Value of the result's size added to it, or null.</summary>
    public Node? Residual { get; set; }

    /// <summary>Factor on the result.</summary>
    public float OutputScale { get; set; } = 1;

    /// <summary>Whether the second half of the output gates the first (GEGLU).</summary>
    public bool Gated { get; set; }

    /// <summary>The last node taken over: the one whose value the step stores.</summary>
    public Node Result { get; set; } = matrix;
}

/// <summary>
/// Decides which nodes become steps of their own. Three things disappear into their neighbours:
/// <code>
///   producer side (staging)                                          consumer side (epilogue)
///   [concat] → [norm] → [modulate] → [activation] → [upsample] → conv/linear → [+ time vector] → [+ residual] → [· factor] → [gate] ⇢ [activation] ⇢ codes
///   └──── one pass that writes u8 or padded float ────┘└──────────────────── one step ─────────────────────────────────────────────────┘
/// </code>
/// (a convolution reads the image before its upsampling, <see cref="Kernels.Convolution.ConvWalk"/>),
/// and views (tokens ↔ image, channel slices) cost nothing in NHWC. Where only layers in integers read a result, and all with the same codes and no border
/// (<see cref="LayersReading"/>), the step writes their codes itself: ⇢. A node whose value is kept, or that another kind of consumer reads, is stored.
/// </summary>
internal sealed class Fusion
{
    private readonly Dictionary<Node, List<Node>> _uses = [];
    private readonly HashSet<Node> _kept;
    private readonly Func<MatrixOp, bool> _gates;
    private readonly HashSet<Node> _staged = [];
    private readonly HashSet<Node> _absorbed = [];
    private readonly Dictionary<Node, MatrixGroup> _groupOfMatrix = [];
    private readonly Dictionary<Node, MatrixGroup> _groupOfResult = [];

    /// <summary>Analyses the nodes of one part of a graph.</summary>
    /// <param name="nodes">The part, in order.</param>
    /// <param name="kept">Nodes whose values are needed outside of it.</param>
    /// <param name="gates">Whether a layer's kernel can apply a gate.</param>
    public Fusion(IReadOnlyList<Node> nodes, HashSet<Node> kept, Func<MatrixOp, bool> gates)
    {
        (_kept, _gates) = (kept, gates);
        HashSet<Node> part = [.. nodes];
        foreach (Node node in nodes)
        {
            _uses.TryAdd(node, []);
            foreach (Node input in node.Inputs)
            {
                if (part.Contains(input)) _uses[input].Add(node);
            }
        }

        FindGroups(nodes);
        FindStaged(nodes);
    }

    /// <summary>Whether the node's value exists only inside the pass that feeds its consumers.</summary>
    public bool IsStaged(Node node) => _staged.Contains(node);

    /// <summary>Whether the node is computed inside another node's step and its own value never exists.</summary>
    public bool IsAbsorbed(Node node) => _absorbed.Contains(node);

    /// <summary>The group whose step stores this node, if one does.</summary>
    public MatrixGroup? GroupStoring(Node node) => _groupOfResult.GetValueOrDefault(node);

    /// <summary>The layers that read a value, through views and at most an activation, or null where something else needs it.</summary>
    public IReadOnlyList<Node>? LayersReading(Node value)
    {
        if (_kept.Contains(value)) return null;
        List<Node> layers = [];
        foreach (Node use in _uses[value])
        {
            if (use.Op is MatrixOp) layers.Add(use);
            else if ((use.Op is ToTokensOp or ToImageOp || (use.Op is ActivationOp && IsStaged(use))) && LayersReading(use) is { } further) layers.AddRange(further);
            else return null;
        }

        return layers.Count > 0 ? layers : null;
    }

    /// <summary>A node that renames rows or channels of its input: no step, the same memory.</summary>
    public static bool IsView(Node node) => node.Op is ToTokensOp or ToImageOp or SliceOp or ReshapeOp;

    // A later matrix node takes an addition before an earlier one: the earlier one's value is then the residual, already there.
    private void FindGroups(IReadOnlyList<Node> nodes)
    {
        foreach (Node matrix in nodes.Where(n => n.Op is MatrixOp).Reverse())
        {
            MatrixGroup group = new(matrix);
            List<Node> path = [matrix];
            Node current = matrix;
            while (!_kept.Contains(current) && _uses[current] is [var next] && !_absorbed.Contains(next) && !_groupOfResult.ContainsKey(next) && TryAbsorb(group, current, next))
            {
                current = next;
                path.Add(next);
            }

            // A view at the end belongs to whoever reads it.
            while (current != matrix && current.Op is ToTokensOp or ToImageOp)
            {
                path.Remove(current);
                current = path[^1];
            }

            group.Result = current;
            foreach (Node node in path.SkipLast(1)) _absorbed.Add(node);
            _groupOfMatrix[matrix] = group;
            _groupOfResult[current] = group;
        }
    }

    private bool TryAbsorb(MatrixGroup group, Node current, Node next)
    {
        switch (next.Op)
        {
            case var _ when group.Gated:
                return false;
            case GegluOp when group is { Residual: null, ImageVector: null, OutputScale: 1 } && _gates(group.Op):
                group.Gated = true;
                return true;
            case ToTokensOp or ToImageOp:
                return true;
            case AddOp when group is { Residual: null, OutputScale: 1 }:
                Node other = next.Inputs[0] == current ? next.Inputs[1] : next.Inputs[0];
                if (other.Shape.Equals(current.Shape))
                {
                    group.Residual = other;
                    return true;
                }

                // Each image's vector (a time embedding): [N, C] beside an image or tokens.
                if (next.Inputs[0] != current || other.Shape.Rank != 2 || current.Shape.Rank < 3 || group.ImageVector is not null) return false;
                group.ImageVector = other;
                return true;
            case AffineOp { Offset: 0 } affine when group.OutputScale == 1:
                group.OutputScale = affine.Factor;
                return true;
            default:
                return false;
        }
    }

    private void FindStaged(IReadOnlyList<Node> nodes)
    {
        Dictionary<Node, int> level = [];
        foreach (Node node in nodes) level[node] = LevelOf(node.Op) ?? (node.Op is ToTokensOp or ToImageOp && level.TryGetValue(node.Inputs[0], out int inner) ? inner : -1);
        foreach (Node node in nodes.Reverse())
        {
            if (_kept.Contains(node) || _absorbed.Contains(node) || _groupOfResult.ContainsKey(node) || level[node] < 0 || _uses[node].Count == 0) continue;
            if (_uses[node].All(use => Accepts(use, node, level))) _staged.Add(node);
        }
    }

    private bool Accepts(Node consumer, Node value, Dictionary<Node, int> level)
    {
        if (consumer.Inputs[0] != value || consumer.Inputs.Skip(1).Contains(value)) return false;
        if (consumer.Op is MatrixOp) return true;
        if (!_staged.Contains(consumer)) return false;
        // A normalisation over tokens or images sees the same rows, but an upsampled image must not be renamed before it is written.
        return consumer.Op is ToTokensOp or ToImageOp ? value.Op is not UpsampleOp : level[consumer] > level[value];
    }

    // The order in which one staging pass can apply things; a view has the level of what it renames.
    private static int? LevelOf(Op op) => op switch
    {
        ConcatOp => 0,
        GroupNormOp or LayerNormOp => 1,
        ModulateOp => 2,
        ActivationOp { Kind: not ActivationKind.Exp } => 3,
        UpsampleOp => 4,
        _ => null,
    };
}

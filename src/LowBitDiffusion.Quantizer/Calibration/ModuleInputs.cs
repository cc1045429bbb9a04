using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>Which layers that read a concatenation get a quantizer for each half.</summary>
public enum SplitInputs
{
    /// <summary>None.</summary>
    None,
    /// <summary>Those that read the concatenation itself (<c>conv_shortcut</c>), as Q-Diffusion does.</summary>
    Concatenations,
    /// <summary>Also those behind a normalisation and activation (<c>conv1</c>), as EDA-DM and CacheQuant do.</summary>
    Normalized,
}

/// <summary>What one layer reads: in most graphs one node; several where the network calls a layer more than once.</summary>
/// <param name="Op">The layer.</param>
/// <param name="Inputs">The nodes it reads, in the graph's order.</param>
/// <param name="SplitChannel">First channel of the second half of a concatenation, or 0.</param>
public sealed record ModuleInputs(MatrixOp Op, IReadOnlyList<Node> Inputs, int SplitChannel)
{
    /// <summary>Every layer of a graph, in the graph's order.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="split">Which inputs are split.</param>
    public static IReadOnlyList<ModuleInputs> Of(Graph graph, SplitInputs split) =>
    [
        .. graph.MatrixNodes.GroupBy(node => ((MatrixOp)node.Op).Module).Select(nodes =>
        {
            Node[] inputs = [.. nodes.Select(node => node.Inputs[0]).Distinct()];
            int[] channels = [.. inputs.Select(input => SplitOf(input, split)).Distinct()];
            return new ModuleInputs((MatrixOp)nodes.First().Op, inputs, channels is [var one] ? one : 0);
        }),
    ];

    /// <summary>Layers that read the same value in the same halves, together: one quantizer serves them all.</summary>
    public static IEnumerable<IReadOnlyList<ModuleInputs>> ByValue(IEnumerable<ModuleInputs> layers) =>
        layers.GroupBy(layer => $"{string.Join(',', layer.Inputs.Select(input => input.Id))}/{layer.SplitChannel}").Select(group => group.ToArray());

    // Channels keep their places through everything that works on each channel by itself or on groups of them.
    private static int SplitOf(Node node, SplitInputs split)
    {
        while (true)
        {
            switch (node.Op)
            {
                case ConcatOp when split != SplitInputs.None:
                    return node.Inputs[0].Shape.Channels;
                case UpsampleOp or AveragePoolOp or ToTokensOp or ToImageOp:
                case GroupNormOp or LayerNormOp or ModulateOp or ActivationOp when split == SplitInputs.Normalized:
                    node = node.Inputs[0];
                    break;
                default:
                    return 0;
            }
        }
    }
}

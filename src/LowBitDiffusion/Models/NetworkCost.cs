using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Models;

/// <summary>Arithmetic of a layer, or of an attention, for one image.</summary>
/// <param name="Name">The module's name; of an attention, its node's.</param>
/// <param name="Macs">Multiply-accumulates, all uses of the module together.</param>
/// <param name="WeightBits">Bits of one factor: a weight's code, or an attention's keys and values; 32 for float.</param>
/// <param name="ActivationBits">Bits of the other factor: an activation's code, or an attention's queries and probabilities; 32 for float.</param>
/// <param name="InLoop">Whether it runs in every step; what does not depend on the sample is computed before the loop.</param>
public sealed record OperationCost(string Name, long Macs, int WeightBits, int ActivationBits, bool InLoop)
{
    /// <summary>MACs · weight bits · activation bits (van Baalen et al. 2020, "Bayesian Bits").</summary>
    public long BitOperations => Macs * WeightBits * ActivationBits;
}

/// <summary>What a network computes for one image, from its graph and the bits of its modules alone: no weight is read.</summary>
/// <param name="Modules">Convolutions and linear layers, in the network's order.</param>
/// <param name="Attentions">Attentions, in the network's order.</param>
public sealed record NetworkCost(IReadOnlyList<OperationCost> Modules, IReadOnlyList<OperationCost> Attentions)
{
    private const int FloatBits = 32, BrainFloatBits = 16, IntegerAttentionBits = 8;

    /// <summary>Multiply-accumulates of one image and step.</summary>
    public long MacsPerStep => InLoop.Sum(operation => operation.Macs);

    /// <summary>Bit operations of one image and step.</summary>
    public long BitOperationsPerStep => InLoop.Sum(operation => operation.BitOperations);

    /// <summary>Those bit operations of a step whose factors are both float.</summary>
    public long FloatBitOperationsPerStep => InLoop.Where(operation => operation is { WeightBits: FloatBits, ActivationBits: FloatBits }).Sum(operation => operation.BitOperations);

    private IEnumerable<OperationCost> InLoop => Modules.Concat(Attentions).Where(operation => operation.InLoop);

    /// <summary>Counts.</summary>
    /// <param name="graph">The network for any batch; costs are those of one image.</param>
    /// <param name="weights">Says which modules and attentions run in integers.</param>
    public static NetworkCost Of(Graph graph, ModelWeights weights) => new(
        [.. graph.MatrixNodes.GroupBy(node => ((MatrixOp)node.Op).Module).Select(uses => OfModule([.. uses], weights))],
        [.. graph.Nodes.Where(node => node.Op is AttentionOp).Select(node => OfAttention(node, weights))]);

    private static OperationCost OfModule(IReadOnlyList<Node> uses, ModelWeights weights)
    {
        MatrixOp op = (MatrixOp)uses[0].Op;
        QuantizedModule? quantized = weights.Quantized(op.Module);
        return new OperationCost(
            op.Module, uses.Sum(use => use.Shape.Positions * op.WeightShape.Elements), quantized?.WeightBits ?? FloatBits, quantized?.Input.Bits ?? FloatBits,
            uses.Any(use => use.Dependence.HasFlag(Dependence.Sample)));
    }

    // q·kᵀ and p·v: queries × keys × channels each.
    private static OperationCost OfAttention(Node node, ModelWeights weights)
    {
        int bits = weights.AttentionOf(node) switch { AttentionPrecision.Int8 => IntegerAttentionBits, AttentionPrecision.Bf16 => BrainFloatBits, _ => FloatBits };
        return new OperationCost(
            $"attention {node.Id}", 2L * node.Inputs[0].Shape.Positions * node.Inputs[1].Shape.Positions * node.Shape.Channels, bits, bits, node.Dependence.HasFlag(Dependence.Sample));
    }
}

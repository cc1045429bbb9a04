using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Models;

/// <summary>Brings a network and the tensors of its folder together.</summary>
public static class ModelLoader
{
    /// <summary>Checks that a folder has every parameter a network needs, in the right shape, float or quantized. No weight codes are read yet.</summary>
    /// <param name="component">The network's folder. Stays the caller's, who disposes it after the last use of the result.</param>
    /// <param name="network">The network of the folder's configuration.</param>
    /// <param name="inputs">Any input shapes the network takes: parameters do not depend on them. Of a network in parts, the part that must be there.</param>
    /// <exception cref="ModelFormatException">A tensor is missing, has another type or shape, or holds a value out of range.</exception>
    public static ModelWeights Open(ComponentFolder component, INetwork network, IReadOnlyDictionary<string, TensorShape> inputs)
    {
        Dictionary<string, QuantizedModule> modules = [];
        if (component.Quantization is { } quantization)
        {
            MatrixOp[] layers = [.. network.Build(network.WholeInputs(batch: 1)).MatrixNodes.Select(n => (MatrixOp)n.Op).DistinctBy(op => op.Module)];
            quantization.CheckNames(component.Config.File, layers.Select(op => op.Module).ToHashSet());
            foreach (MatrixOp op in layers.Where(op => LowBitCodec.IsQuantized(component.Weights, op.Module)))
                modules.Add(op.Module, LowBitCodec.Read(component.Weights, quantization, op.Module, op.WeightShape, op.HasBias));
        }

        ModelWeights weights = new(component.Weights, network, modules, component.Quantization?.Attention ?? AttentionPrecision.Float);
        weights.Check(network.Build(inputs));
        return weights;
    }
}

using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Models.RandomWeights;

/// <summary>
/// Seeded random modules in integers for measuring: no float weights are made, and the codes of a module only while it is packed. Codes are uniform and scales such that weights
/// have the variance of <see cref="RandomTensors"/>; activations are quantized over [−4, 4] at every timestep.
/// </summary>
public static class RandomQuantized
{
    private const float Range = 8;

    /// <summary>The modules that a quantizer would quantize by default, in the precisions they would get (<see cref="PrecisionRules.Defaults"/>).</summary>
    /// <param name="graph">The network, at any size.</param>
    /// <param name="precision">Bits of weights and activations that no rule names, and the group size; weights are symmetric.</param>
    /// <param name="seed">Seed.</param>
    /// <returns>Modules by name, for <see cref="ModelWeights"/> together with <see cref="RandomTensors"/> of the same graph.</returns>
    /// <exception cref="InvalidRequestException">The precision is asymmetric or has a split, which is made for trained networks alone.</exception>
    public static IReadOnlyDictionary<string, QuantizedModule> Modules(Graph graph, ModulePrecision precision, int seed)
    {
        if (!precision.Symmetric || precision.SplitChannel != 0) throw new InvalidRequestException(nameof(precision), "random modules are symmetric and without split");
        RandomTensors floats = new(graph, seed);
        PrecisionRules rules = new(new Precision(precision.WeightBits, precision.ActivationBits));
        return graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module).Where(op => !rules.Of(op.Module).IsFloat)
            .ToDictionary(op => op.Module, op => Module(op, Precision(rules.Of(op.Module)), floats, seed));

        ModulePrecision Precision(Precision chosen) => precision with { WeightBits = chosen.WeightBits, ActivationBits = chosen.ActivationBits };
    }

    private static QuantizedModule Module(MatrixOp op, ModulePrecision precision, RandomTensors floats, int seed)
    {
        TensorShape shape = op.WeightShape;
        int depth = (int)(shape.Elements / shape[0]), limit = (1 << (precision.WeightBits - 1)) - 1;
        int group = precision.GroupSize > 0 && depth % precision.GroupSize == 0 && precision.GroupSize % (depth / shape[1]) == 0 ? precision.GroupSize : 0;
        // Integers from −L to L, all equally likely, have variance L·(L + 1) / 3.
        float[] scales = new float[shape[0] * (group > 0 ? depth / group : 1)];
        Array.Fill(scales, RandomTensors.Deviation(op) / MathF.Sqrt(limit * (limit + 1) / 3f));
        int levels = (1 << precision.ActivationBits) - 1;
        return new QuantizedModule
        {
            Name = op.Module,
            WeightShape = shape,
            WeightBits = precision.WeightBits,
            GroupSize = group,
            WeightScales = scales,
            CodesReader = codes => new CounterRandom(seed, $"{op.Module}.codes").FillUniform(codes, limit),
            Input = new TimestepTable([0], [Range / levels], [(levels + 1) / 2], segments: 1, precision.ActivationBits),
            Bias = op.HasBias ? floats.ReadSingles($"{op.Module}.bias") : null,
        };
    }
}

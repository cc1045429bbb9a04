using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Execution;

/// <summary>How a test quantizes a layer.</summary>
internal sealed record LayerPrecision(int WeightBits, int ActivationBits, int GroupChannels = 0, int Split = 0, bool ChannelScales = false, bool SplitWeightScales = false)
{
    public override string ToString() =>
        $"w{WeightBits}a{ActivationBits}{(GroupChannels > 0 ? $" groups of {GroupChannels}" : "")}{(Split > 0 ? $" split at {Split}" : "")}{(ChannelScales ? " channel scales" : "")}{(SplitWeightScales ? " split weight scales" : "")}";
}

/// <summary>Seeded random parameters for any graph.</summary>
internal static class RandomModel
{
    /// <summary>Parameters for every module of a graph; layers that <paramref name="precision"/> names run in integers.</summary>
    public static ModelWeights Weights(Graph graph, int seed, Func<MatrixOp, LayerPrecision?> precision)
    {
        Random random = new(seed);
        InMemoryTensors tensors = new("random");
        Dictionary<string, QuantizedModule> modules = [];
        foreach (Parameter parameter in graph.Parameters)
        {
            double scale = parameter.Shape.Rank == 1 ? 0.3 : 1 / Math.Sqrt((double)parameter.Shape.Elements / parameter.Shape[0]), offset = parameter.Name.EndsWith("norm.weight") ? 1 : 0;
            tensors.Add(parameter.Name, [.. parameter.Shape.Select(d => (long)d)], Normal(random, (int)parameter.Shape.Elements, scale, offset));
        }

        foreach (MatrixOp op in graph.MatrixNodes.Select(n => (MatrixOp)n.Op).DistinctBy(op => op.Module))
        {
            if (precision(op) is { } chosen) modules.Add(op.Module, Module(op, chosen, random));
        }

        return new ModelWeights(tensors, network: null, modules);
    }

    /// <summary>Numbers of N(offset, scale²).</summary>
    public static float[] Normal(Random random, int count, double scale = 1, double offset = 0) =>
        [.. Enumerable.Range(0, count).Select(_ => (float)(offset + scale * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];

    private static QuantizedModule Module(MatrixOp op, LayerPrecision precision, Random random)
    {
        int n = op.WeightShape[0], depth = (int)(op.WeightShape.Elements / n), taps = depth / op.WeightShape[1], top = precision.WeightBits == 8 ? 127 : (1 << precision.WeightBits) - 1;
        int groups = precision.GroupChannels > 0 ? op.WeightShape[1] / precision.GroupChannels : precision.SplitWeightScales ? 2 : 1, segments = precision.Split > 0 ? 2 : 1;
        float[] timesteps = [0, 100, 500, 900];
        return new QuantizedModule
        {
            Name = op.Module,
            WeightShape = op.WeightShape,
            WeightBits = precision.WeightBits,
            Codes = [.. Enumerable.Range(0, n * depth).Select(i => Code(i / depth, i % depth / taps / Math.Max(1, precision.GroupChannels)))],
            WeightScales = [.. Enumerable.Range(0, n * groups).Select(_ => (float)((0.5 + random.NextDouble()) / (top * Math.Sqrt(depth))))],
            GroupSize = precision.GroupChannels * taps,
            SplitChannel = precision.Split,
            Input = new TimestepTable(
                timesteps,
                [.. Enumerable.Range(0, timesteps.Length * segments).Select(_ => (float)((4 + 4 * random.NextDouble()) / ((1 << precision.ActivationBits) - 1)))],
                [.. Enumerable.Range(0, timesteps.Length * segments).Select(_ => random.Next(1 << precision.ActivationBits))],
                segments,
                precision.ActivationBits),
            InputChannelScales = precision.ChannelScales ? [.. Enumerable.Range(0, op.WeightShape[1]).Select(_ => (float)(0.5 + 2 * random.NextDouble()))] : null,
            Bias = op.HasBias ? Normal(random, n) : null,
        };

        // Stored codes 0 … top less the zero point of their channel and group; 8 bits are symmetric.
        sbyte Code(int channel, int group) => (sbyte)(precision.WeightBits == 8 ? random.Next(-top, top + 1) : random.Next(top + 1) - (7 * channel + 3 * group) % (top + 1));
    }
}

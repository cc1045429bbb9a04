using System.Globalization;
using System.Text.RegularExpressions;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.RandomWeights;

/// <summary>Published networks with random weights in a precision.</summary>
public static partial class RandomModel
{
    /// <summary>The precision of a float network.</summary>
    internal const string Float = "f32";

    /// <summary>Random weights for a network.</summary>
    /// <param name="network">The network.</param>
    /// <param name="inputs">Any input shapes the network takes: parameters do not depend on them.</param>
    /// <param name="precision">Bits of weights and activations such as <c>w4a8</c> or <c>w8a8</c>, 2 to 8 each, or <c>f32</c> for a float network.</param>
    /// <param name="seed">Seed.</param>
    /// <exception cref="InvalidRequestException">Not such a precision.</exception>
    /// <exception cref="GraphException">The shapes do not fit the network.</exception>
    public static ModelWeights Weights(INetwork network, IReadOnlyDictionary<string, TensorShape> inputs, string precision, int seed)
    {
        Graph graph = network.Build(inputs);
        RandomTensors floats = new(graph, seed);
        return Parse(precision) is { } bits ? new ModelWeights(floats, network, RandomQuantized.Modules(graph, bits, seed)) : new ModelWeights(floats, network);
    }

    /// <summary>Bits of weights and activations; null for float.</summary>
    internal static ModulePrecision? Parse(string precision)
    {
        if (precision == Float) return null;
        Match match = Pattern().Match(precision);
        if (!match.Success) throw new InvalidRequestException("weights", $"expected {Float} or bits of weights and activations such as w4a8, found {precision}");
        return new ModulePrecision(Bits(1), GroupSize: 0, Symmetric: true, Bits(2));

        int Bits(int part) => int.Parse(match.Groups[part].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture);
    }

    [GeneratedRegex("^w([2-8])a([2-8])$")]
    private static partial Regex Pattern();
}

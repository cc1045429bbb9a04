using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models;

/// <summary>Inputs of a network, checked against what its configuration says.</summary>
internal static class GraphInputs
{
    /// <summary>An input that must be there.</summary>
    /// <param name="g">Graph being written.</param>
    /// <param name="name">The input's name.</param>
    /// <param name="shapes">Shapes given to <see cref="INetwork.Build"/>.</param>
    /// <param name="dependence">What it varies with.</param>
    /// <param name="rank">Dimensions expected.</param>
    /// <param name="channels">Channels expected, if the configuration says.</param>
    /// <exception cref="GraphException">The input is missing or has another shape.</exception>
    public static Node Input(this GraphBuilder g, string name, IReadOnlyDictionary<string, TensorShape> shapes, Dependence dependence, int rank, int? channels = null)
    {
        if (!shapes.TryGetValue(name, out TensorShape? shape)) throw new GraphException(name, $"expected a shape of {rank} dimensions, found nothing");
        if (shape.Rank != rank) throw new GraphException(name, $"expected {rank} dimensions, found {shape}");
        if (channels is { } count && shape.Channels != count) throw new GraphException(name, $"expected {count} channels, found {shape}");
        return g.Input(name, shape, dependence);
    }

    /// <summary>An input that may be left out.</summary>
    public static Node? OptionalInput(this GraphBuilder g, string name, IReadOnlyDictionary<string, TensorShape> shapes, Dependence dependence, int rank, int? channels = null) =>
        shapes.ContainsKey(name) ? g.Input(name, shapes, dependence, rank, channels) : null;
}

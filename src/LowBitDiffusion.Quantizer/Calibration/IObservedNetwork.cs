using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>A network that shows values while it runs.</summary>
public interface IObservedNetwork : IDisposable
{
    /// <summary>The graph whose nodes are shown.</summary>
    Graph Graph { get; }

    /// <summary>Called with the value of every observed node in every run.</summary>
    NodeObserver? Observer { get; set; }

    /// <summary>Runs the network.</summary>
    /// <param name="inputs">All inputs by name, row-major; all images at one timestep.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <returns>Its outputs by name.</returns>
    IReadOnlyDictionary<string, float[]> Run(IReadOnlyDictionary<string, float[]> inputs, CancellationToken cancellationToken = default);
}

/// <summary>Makes a network for input shapes.</summary>
/// <param name="inputs">Shapes by input name.</param>
/// <param name="observe">Chooses the nodes to show; null for none.</param>
/// <param name="cancellationToken">Checked while weights are prepared.</param>
public delegate IObservedNetwork ObservedNetworkFactory(IReadOnlyDictionary<string, TensorShape> inputs, Func<Graph, IEnumerable<Node>>? observe = null, CancellationToken cancellationToken = default);

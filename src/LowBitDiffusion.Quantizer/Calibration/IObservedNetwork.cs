using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>A network that shows values while it predicts. Everything that a prediction needs is shown again at every <see cref="IDenoiser.Prepare"/>.</summary>
public interface IObservedNetwork : IDenoiser
{
    /// <summary>The graph whose nodes are shown.</summary>
    Graph Graph { get; }

    /// <summary>Called with the value of every observed node.</summary>
    NodeObserver? Observer { get; set; }
}

/// <summary>Makes a network for input shapes.</summary>
/// <param name="inputs">Shapes by input name.</param>
/// <param name="observe">Chooses the nodes to show; null for none.</param>
/// <param name="cancellationToken">Checked while weights are prepared.</param>
public delegate IObservedNetwork ObservedNetworkFactory(IReadOnlyDictionary<string, TensorShape> inputs, Func<Graph, IEnumerable<Node>>? observe = null, CancellationToken cancellationToken = default);

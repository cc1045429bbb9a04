using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>The planned executor, with observed nodes kept from being fused away.</summary>
public sealed class ObservedPlannedNetwork : IObservedNetwork
{
    private readonly PlannedNetwork _network;
    private readonly PreparedModel _model;

    private ObservedPlannedNetwork(Graph graph, PlannedNetwork network, PreparedModel model) => (Graph, _network, _model) = (graph, network, model);

    /// <inheritdoc/>
    public Graph Graph { get; }

    /// <inheritdoc/>
    public NodeObserver? Observer
    {
        get => _network.Observer;
        set => _network.Observer = value;
    }

    /// <summary>Networks of any shape that pack their weights each for itself and free them when disposed: the memory of one network at a time.</summary>
    /// <param name="network">The architecture.</param>
    /// <param name="weights">Its parameters; must stay usable.</param>
    /// <param name="pool">Threads that run the networks; stay the caller's.</param>
    /// <param name="progress">Share of a network's weights that is packed.</param>
    public static ObservedNetworkFactory Factory(INetwork network, ModelWeights weights, WorkerPool pool, IProgress<double>? progress = null) => (inputs, observe, cancellationToken) =>
    {
        PreparedModel model = new(network, weights);
        try
        {
            Graph? graph = null;
            PlannedNetwork planned = model.Compile(
                inputs,
                pool,
                compiled =>
                {
                    graph = compiled;
                    return observe?.Invoke(compiled) ?? [];
                },
                network.MainOutputs,
                progress,
                cancellationToken);
            return new ObservedPlannedNetwork(graph!, planned, model);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    };

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, float[]> Run(IReadOnlyDictionary<string, float[]> inputs, CancellationToken cancellationToken = default) =>
        _network.Run(inputs, cancellationToken: cancellationToken);

    /// <inheritdoc/>
    public void Dispose()
    {
        _network.Dispose();
        _model.Dispose();
    }
}

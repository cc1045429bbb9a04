using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>The planned executor, with observed nodes kept from being fused away.</summary>
public sealed class ObservedPlannedNetwork : IObservedNetwork
{
    private readonly PlannedNetwork _network;

    private ObservedPlannedNetwork(Graph graph, PlannedNetwork network) => (Graph, _network) = (graph, network);

    /// <inheritdoc/>
    public Graph Graph { get; }

    /// <inheritdoc/>
    public NodeObserver? Observer
    {
        get => _network.Observer;
        set => _network.Observer = value;
    }

    /// <inheritdoc/>
    public int SampleLength => _network.SampleLength;

    /// <inheritdoc/>
    public int PredictionLength => _network.PredictionLength;

    /// <summary>Networks of any shape over one set of packed weights.</summary>
    /// <param name="model">The packed weights; stay the caller's.</param>
    /// <param name="pool">Threads that run the networks; stay the caller's.</param>
    public static ObservedNetworkFactory Factory(PreparedModel model, WorkerPool pool) => (inputs, observe, cancellationToken) =>
    {
        Graph? graph = null;
        PlannedNetwork network = model.Compile(
            inputs,
            pool,
            compiled =>
            {
                graph = compiled;
                return observe?.Invoke(compiled) ?? [];
            },
            cancellationToken: cancellationToken);
        return new ObservedPlannedNetwork(graph!, network);
    };

    /// <inheritdoc/>
    public void Prepare(ReadOnlySpan<float> timesteps, IReadOnlyDictionary<string, float[]> conditions, CancellationToken cancellationToken = default) =>
        _network.Prepare(timesteps, conditions, cancellationToken);

    /// <inheritdoc/>
    public void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken = default) =>
        _network.Predict(step, sample, prediction, cancellationToken);

    /// <inheritdoc/>
    public void Dispose() => _network.Dispose();
}

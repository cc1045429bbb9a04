using LowBitDiffusion.Execution;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>The planned executor, with observed nodes kept from being fused away.</summary>
public sealed class ObservedPlannedNetwork : IObservedNetwork
{
    private readonly PlannedNetwork _network;
    private readonly PreparedModel? _owned;

    private ObservedPlannedNetwork(Graph graph, PlannedNetwork network, PreparedModel? owned) => (Graph, _network, _owned) = (graph, network, owned);

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
    public static ObservedNetworkFactory Factory(PreparedModel model, WorkerPool pool) =>
        (inputs, observe, cancellationToken) => Compile(model, owned: null, pool, inputs, observe, progress: null, cancellationToken);

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
            return Compile(model, model, pool, inputs, observe, progress, cancellationToken);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    };

    /// <inheritdoc/>
    public void Prepare(ReadOnlySpan<float> timesteps, IReadOnlyDictionary<string, float[]> conditions, CancellationToken cancellationToken = default) =>
        _network.Prepare(timesteps, conditions, cancellationToken);

    /// <inheritdoc/>
    public void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken = default) =>
        _network.Predict(step, sample, prediction, cancellationToken);

    /// <inheritdoc/>
    public void Dispose()
    {
        _network.Dispose();
        _owned?.Dispose();
    }

    private static ObservedPlannedNetwork Compile(
        PreparedModel model, PreparedModel? owned, WorkerPool pool, IReadOnlyDictionary<string, TensorShape> inputs, Func<Graph, IEnumerable<Node>>? observe, IProgress<double>? progress,
        CancellationToken cancellationToken)
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
            progress: progress,
            cancellationToken: cancellationToken);
        return new ObservedPlannedNetwork(graph!, network, owned);
    }
}

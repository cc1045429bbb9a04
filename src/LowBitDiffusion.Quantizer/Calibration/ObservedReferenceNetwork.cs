using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Quantizer.Calibration;

/// <summary>The reference executor: slow, for small networks and as the oracle of the planned one.</summary>
public sealed class ObservedReferenceNetwork : IObservedNetwork
{
    private readonly ModelWeights _weights;
    private readonly HashSet<Node> _observed;

    private ObservedReferenceNetwork(Graph graph, ModelWeights weights, IEnumerable<Node> observed) => (Graph, _weights, _observed) = (graph, weights, [.. observed]);

    /// <inheritdoc/>
    public Graph Graph { get; }

    /// <inheritdoc/>
    public NodeObserver? Observer { get; set; }

    /// <summary>Networks of any shape over one set of weights.</summary>
    public static ObservedNetworkFactory Factory(INetwork network, ModelWeights weights) => (inputs, observe, _) =>
    {
        Graph graph = network.Build(inputs).Select(network.MainOutputs);
        return new ObservedReferenceNetwork(graph, weights, observe?.Invoke(graph) ?? []);
    };

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, float[]> Run(IReadOnlyDictionary<string, float[]> inputs, CancellationToken cancellationToken = default) =>
        ReferenceExecutor.Run(Graph, _weights, inputs, inputs.TryGetValue("timestep", out float[]? timesteps) ? timesteps[0] : 0, onNode: Show, cancellationToken: cancellationToken);

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private void Show(Node node, float[] value)
    {
        if (Observer is null || !_observed.Contains(node)) return;
        if (node.Shape.Rank != 4)
        {
            Observer(node, value);
            return;
        }

        // [N, C, P] → [N, P, C]
        int channels = node.Shape.Channels, positions = node.Shape.Positions, image = channels * positions;
        float[] rows = new float[value.Length];
        for (int i = 0; i < rows.Length; i++) rows[i] = value[i / image * image + i % channels * positions + i % image / channels];
        Observer(node, rows);
    }
}

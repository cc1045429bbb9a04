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
    private float[] _timesteps = [];
    private IReadOnlyDictionary<string, float[]> _conditions = new Dictionary<string, float[]>();

    private ObservedReferenceNetwork(Graph graph, ModelWeights weights, IEnumerable<Node> observed) => (Graph, _weights, _observed) = (graph, weights, [.. observed]);

    /// <inheritdoc/>
    public Graph Graph { get; }

    /// <inheritdoc/>
    public NodeObserver? Observer { get; set; }

    /// <inheritdoc/>
    public int SampleLength => (int)Graph.Inputs["sample"].Shape.Elements;

    /// <inheritdoc/>
    public int PredictionLength => (int)Graph.Outputs["sample"].Shape.Elements;

    /// <summary>Networks of any shape over one set of weights.</summary>
    public static ObservedNetworkFactory Factory(INetwork network, ModelWeights weights) => (inputs, observe, _) =>
    {
        Graph graph = network.Build(inputs);
        return new ObservedReferenceNetwork(graph, weights, observe?.Invoke(graph) ?? []);
    };

    /// <inheritdoc/>
    public void Prepare(ReadOnlySpan<float> timesteps, IReadOnlyDictionary<string, float[]> conditions, CancellationToken cancellationToken = default) =>
        (_timesteps, _conditions) = (timesteps.ToArray(), conditions);

    /// <inheritdoc/>
    public void Predict(int step, ReadOnlySpan<float> sample, Span<float> prediction, CancellationToken cancellationToken = default)
    {
        float[] timestep = new float[Graph.Inputs["timestep"].Shape.Elements];
        Array.Fill(timestep, _timesteps[step]);
        Dictionary<string, float[]> inputs = new(_conditions) { ["sample"] = sample.ToArray(), ["timestep"] = timestep };
        ReferenceExecutor.Run(Graph, _weights, inputs, _timesteps[step], onNode: Show, cancellationToken: cancellationToken)["sample"].CopyTo(prediction);
    }

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

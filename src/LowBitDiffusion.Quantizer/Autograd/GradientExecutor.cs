using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>
/// Runs a graph, or a part of it, so that gradients can follow: float layers on the runtime's kernels, layers with simulated quantization as the integers would compute them. Values are rows of
/// channels (<see cref="RowLayout"/>). The same bits for any number of threads.
/// </summary>
/// <param name="model">Parameters.</param>
/// <param name="pool">Threads.</param>
public sealed class GradientExecutor(TrainingModel model, WorkerPool pool)
{
    /// <summary>Parameters.</summary>
    public TrainingModel Model { get; } = model;

    /// <summary>Computes some values of a graph from others.</summary>
    /// <param name="given">Known values as rows of channels: the graph's inputs, or what a block reads.</param>
    /// <param name="targets">Values to compute.</param>
    /// <param name="settings">How.</param>
    /// <param name="cancellationToken">Checked before each node.</param>
    /// <returns>The values, ready for a backward pass.</returns>
    /// <exception cref="InvalidRequestException">A value that is needed is not given, or has another length; an index is outside its table.</exception>
    /// <exception cref="ModelFormatException">A parameter is missing or has another shape.</exception>
    public Tape Run(IReadOnlyDictionary<Node, float[]> given, IReadOnlyCollection<Node> targets, RunSettings? settings = null, CancellationToken cancellationToken = default)
    {
        foreach ((Node node, float[] values) in given)
        {
            if (values.Length != node.Shape.Elements) throw new InvalidRequestException(node.Op is InputOp input ? input.Name : node.ToString(), $"expected the {node.Shape.Elements} elements of {node.Shape}, found {values.Length}");
        }

        Tape tape = new(Model, pool, given, targets, settings ?? new RunSettings());
        tape.Forward(cancellationToken);
        return tape;
    }

    /// <summary>Runs a whole network on row-major inputs and returns its outputs, row-major: what the reference executor and plans do.</summary>
    /// <inheritdoc cref="Run(IReadOnlyDictionary{Node, float[]}, IReadOnlyCollection{Node}, RunSettings?, CancellationToken)"/>
    /// <param name="graph">The network.</param>
    /// <param name="inputs">Every input by name, row-major.</param>
    /// <param name="settings">How.</param>
    /// <param name="cancellationToken">Checked before each node.</param>
    public IReadOnlyDictionary<string, float[]> Predict(Graph graph, IReadOnlyDictionary<string, float[]> inputs, RunSettings? settings = null, CancellationToken cancellationToken = default)
    {
        Tape tape = Run(Rows(graph, inputs), [.. graph.Outputs.Values], (settings ?? new RunSettings()) with { Record = false }, cancellationToken);
        return graph.Outputs.ToDictionary(output => output.Key, output => RowLayout.FromRows(tape[output.Value], output.Value.Shape));
    }

    /// <summary>A graph's inputs by name, row-major, in the form that <see cref="Run"/> takes; names the graph does not have are left out.</summary>
    /// <exception cref="InvalidRequestException">An input has another length.</exception>
    public static Dictionary<Node, float[]> Rows(Graph graph, IReadOnlyDictionary<string, float[]> inputs)
    {
        Dictionary<Node, float[]> rows = [];
        foreach ((string name, Node node) in graph.Inputs)
        {
            if (!inputs.TryGetValue(name, out float[]? values)) continue;
            if (values.Length != node.Shape.Elements) throw new InvalidRequestException(name, $"expected the {node.Shape.Elements} elements of {node.Shape}, found {values.Length}");
            rows.Add(node, RowLayout.ToRows(values, node.Shape));
        }

        return rows;
    }
}

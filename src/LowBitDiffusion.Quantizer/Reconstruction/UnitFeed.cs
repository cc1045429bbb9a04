using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>A mini-batch for a unit.</summary>
/// <param name="Inputs">What the unit reads.</param>
/// <param name="Targets">What the float unit computes on the float network's values.</param>
/// <param name="Timesteps">Timestep of each sample.</param>
internal sealed record UnitBatch(IReadOnlyDictionary<Node, float[]> Inputs, IReadOnlyDictionary<Node, float[]> Targets, float[] Timesteps);

/// <summary>
/// Inputs and targets of one unit after the other for all calibration samples: inputs from the network with all earlier layers quantized, targets from the float network. Both networks are computed only once:
/// a unit's values are computed from the values that earlier units left, and what no later unit needs is dropped.
/// <code>
///   quantized   … ──► inputs of unit k ──(learned layers)──► inputs of unit k + 1 ──► …
///   float       … ──► outputs of unit k ───────────────────► outputs of unit k + 1 ─► …
/// </code>
/// Nothing but the samples is needed to begin at any unit, as a resumed run does, and the values are the same.
/// </summary>
internal sealed class UnitFeed
{
    private readonly Graph _graph;
    private readonly IReadOnlyList<ReconstructionUnit> _units;
    private readonly GradientExecutor _quantizedNetwork;
    private readonly GradientExecutor _floatNetwork;
    private readonly bool _keepFloatInputs;
    private readonly float[] _timesteps;
    private readonly int _batch;
    private readonly Dictionary<Node, float[]> _quantized = [];
    private readonly Dictionary<Node, float[]> _float = [];
    private ReconstructionUnit _unit;

    /// <summary>Starts with the samples alone.</summary>
    /// <param name="graph">The network.</param>
    /// <param name="units">All units.</param>
    /// <param name="quantized">The network with quantized layers.</param>
    /// <param name="plain">The float network.</param>
    /// <param name="samples">Samples.</param>
    /// <param name="count">How many of them, from the first.</param>
    /// <param name="keepFloatInputs">Whether the float network's inputs of the units are needed too.</param>
    public UnitFeed(
        Graph graph, IReadOnlyList<ReconstructionUnit> units, GradientExecutor quantized, GradientExecutor plain, ICalibrationSamples samples, int count, bool keepFloatInputs)
    {
        (_graph, _units, _unit, _quantizedNetwork, _floatNetwork, _keepFloatInputs) = (graph, units, units[0], quantized, plain, keepFloatInputs);
        _batch = graph.Inputs["timestep"].Shape[0];
        _timesteps = new float[count];
        foreach ((int first, int part, int[] numbers) in Batches())
        {
            IReadOnlyDictionary<string, float[]> inputs = samples.Batch(numbers);
            inputs["timestep"].AsSpan(0, part).CopyTo(_timesteps.AsSpan(first));
            foreach ((Node node, float[] values) in GradientExecutor.Rows(graph, inputs)) Store(_quantized, node, values, first, part);
        }

        foreach ((Node node, float[] values) in _quantized) _float.Add(node, values);
    }

    /// <summary>How many samples there are.</summary>
    public int Count => _timesteps.Length;

    /// <summary>Numbers that are kept for a sample at most, while a unit's turn lasts.</summary>
    public static long ElementsPerSample(Graph graph, IReadOnlyList<ReconstructionUnit> units, bool keepFloatInputs)
    {
        int batch = graph.Inputs["timestep"].Shape[0];
        long most = 0;
        HashSet<Node> quantized = [.. graph.Inputs.Values], plain = [.. graph.Inputs.Values];
        for (int unit = 0; unit < units.Count; unit++)
        {
            quantized.UnionWith(units[unit].Inputs);
            plain.UnionWith(units[unit].Outputs);
            if (keepFloatInputs) plain.UnionWith(units[unit].Inputs);
            most = Math.Max(most, quantized.Concat(plain).Sum(node => node.Shape.Elements / batch));
            quantized.IntersectWith(Needed(units.Skip(unit), quantized));
            plain.IntersectWith(Needed(units.Skip(unit), plain));
        }

        return most;
    }

    /// <summary>Computes a unit's inputs and targets; units are opened in order, some may be left out.</summary>
    public void Open(int unit, CancellationToken cancellationToken)
    {
        _unit = _units[unit];
        Node[] inputs = [.. _unit.Inputs], floats = _keepFloatInputs ? [.. _unit.Outputs, .. _unit.Inputs] : [.. _unit.Outputs];
        Node[] quantizedGiven = [.. _quantized.Keys], floatGiven = [.. _float.Keys];
        foreach ((int first, int part, int[] numbers) in Batches())
        {
            RunSettings settings = new() { Timesteps = SampleRows.Gather(_timesteps, 1, numbers), Record = false };
            Tape quantized = _quantizedNetwork.Run(Gather(_quantized, quantizedGiven, numbers), inputs, settings, cancellationToken);
            foreach (Node node in inputs.Except(quantizedGiven)) Store(_quantized, node, quantized[node], first, part);
            Tape plain = _floatNetwork.Run(Gather(_float, floatGiven, numbers), floats, settings, cancellationToken);
            foreach (Node node in floats.Except(floatGiven)) Store(_float, node, plain[node], first, part);
        }

        Prune(_quantized, unit);
        Prune(_float, unit);
    }

    /// <summary>Some samples as a batch; with a share below 1, elements of the inputs are drawn from both networks.</summary>
    public UnitBatch Batch(ReadOnlySpan<int> samples, double quantizedShare, ulong seed)
    {
        int[] chosen = samples.ToArray();
        Dictionary<Node, float[]> inputs = Gather(_quantized, _unit.Inputs, chosen);
        if (quantizedShare < 1)
        {
            foreach ((Node node, float[] values) in Gather(_float, _unit.Inputs, chosen)) Omission.Of(new QuantizationDrop(quantizedShare, seed), $"input {node.Id}").Replace(0, values, null, inputs[node]);
        }

        return new UnitBatch(inputs, Gather(_float, _unit.Outputs, chosen), SampleRows.Gather(_timesteps, 1, chosen));
    }

    /// <summary>The stored values that the outputs of some units are computed from.</summary>
    private static HashSet<Node> Needed(IEnumerable<ReconstructionUnit> units, IReadOnlySet<Node> stored)
    {
        HashSet<Node> seen = [], needed = [];
        Stack<Node> open = new(units.SelectMany(unit => unit.Outputs.Concat(unit.Inputs)));
        while (open.TryPop(out Node? node))
        {
            if (!seen.Add(node)) continue;
            if (stored.Contains(node)) needed.Add(node);
            else foreach (Node input in node.Inputs) open.Push(input);
        }

        return needed;
    }

    private void Prune(Dictionary<Node, float[]> values, int unit)
    {
        HashSet<Node> stored = [.. values.Keys];
        foreach (Node node in stored.Except(Needed(_units.Skip(unit), stored))) values.Remove(node);
    }

    /// <summary>All samples in batches: the first one's number, how many, and their numbers; the last batch is filled with samples that are there already.</summary>
    private IEnumerable<(int First, int Count, int[] Numbers)> Batches()
    {
        for (int first = 0; first < Count; first += _batch)
            yield return (first, Math.Min(_batch, Count - first), [.. Enumerable.Range(first, _batch).Select(number => number % Count)]);
    }

    private Dictionary<Node, float[]> Gather(Dictionary<Node, float[]> values, IEnumerable<Node> nodes, int[] samples) =>
        nodes.ToDictionary(node => node, node => SampleRows.Gather(values[node], values[node].Length / Count, samples));

    private void Store(Dictionary<Node, float[]> all, Node node, float[] values, int first, int count)
    {
        if (!all.TryGetValue(node, out float[]? stored)) all.Add(node, stored = SampleRows.Allocate(node, _batch, Count));
        int elements = values.Length / _batch;
        values.AsSpan(0, count * elements).CopyTo(stored.AsSpan(first * elements));
    }
}

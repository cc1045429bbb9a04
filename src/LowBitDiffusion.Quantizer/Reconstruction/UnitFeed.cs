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
    /// <summary>Bytes of the arrays that passes over a unit share.</summary>
    private const long PassBytes = 1L << 30;

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
        _batch = SampleRows.BatchOf(graph);
        _timesteps = new float[count];
        foreach ((int first, int part, int[] numbers) in Batches())
        {
            IReadOnlyDictionary<string, float[]> inputs = samples.Batch(numbers);
            // Without timesteps all are at 0, where tables have their only entry.
            if (inputs.TryGetValue("timestep", out float[]? timesteps)) timesteps.AsSpan(0, part).CopyTo(_timesteps.AsSpan(first));
            foreach ((Node node, float[] values) in GradientExecutor.Rows(graph, inputs)) Store(_quantized, node, values, first, part);
        }

        foreach ((Node node, float[] values) in _quantized) _float.Add(node, values);
    }

    /// <summary>Arrays of the passes over the present unit.</summary>
    public PassMemory Memory { get; private set; } = new(PassBytes);

    /// <summary>How many samples there are.</summary>
    public int Count => _timesteps.Length;

    /// <summary>Numbers that are kept for a sample at most, while a unit's turn lasts.</summary>
    public static long ElementsPerSample(Graph graph, IReadOnlyList<ReconstructionUnit> units, bool keepFloatInputs)
    {
        int batch = SampleRows.BatchOf(graph);
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
        Memory = new PassMemory(PassBytes);
        Compute(_quantizedNetwork, _quantized, inputs, cancellationToken);
        Compute(_floatNetwork, _float, floats, cancellationToken);
        Prune(_quantized, unit);
        Prune(_float, unit);
    }

    /// <summary>Adds values to those that are stored of a network.</summary>
    private void Compute(GradientExecutor network, Dictionary<Node, float[]> stored, Node[] nodes, CancellationToken cancellationToken)
    {
        Node[] missing = [.. nodes.Where(node => !stored.ContainsKey(node))];
        if (missing.Length == 0) return;
        HashSet<Node> given = Needed(missing, stored.Keys.ToHashSet());
        foreach ((int first, int part, int[] numbers) in Batches())
        {
            using PassMemory.Scope scope = Memory.Open();
            Tape tape = network.Run(Gather(stored, given, numbers), missing, new RunSettings { Timesteps = SampleRows.Gather(_timesteps, 1, numbers), Record = false }, cancellationToken);
            foreach (Node node in missing) Store(stored, node, tape[node], first, part);
        }
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

    /// <summary>The stored values that inputs and outputs of some units are computed from.</summary>
    private static HashSet<Node> Needed(IEnumerable<ReconstructionUnit> units, IReadOnlySet<Node> stored) => Needed(units.SelectMany(unit => unit.Outputs.Concat(unit.Inputs)), stored);

    /// <summary>The stored values that others are computed from.</summary>
    private static HashSet<Node> Needed(IEnumerable<Node> values, IReadOnlySet<Node> stored)
    {
        HashSet<Node> seen = [], needed = [];
        Stack<Node> open = new(values);
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

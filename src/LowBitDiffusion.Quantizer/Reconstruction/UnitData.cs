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
/// Inputs and targets of one unit for all calibration samples: inputs from the network with all earlier layers quantized, targets from the float network. Both networks are run up to the unit;
/// nothing is kept from unit to unit, so memory is that of one unit and a resumed run needs no more than the samples.
/// </summary>
internal sealed class UnitData
{
    private readonly int _batch;
    private readonly float[] _timesteps;
    private readonly Dictionary<Node, float[]> _quantized = [];
    private readonly Dictionary<Node, float[]> _float = [];
    private readonly Dictionary<Node, float[]> _targets = [];

    private UnitData(int batch, int samples) => (_batch, _timesteps) = (batch, new float[samples]);

    /// <summary>How many samples there are.</summary>
    public int Count => _timesteps.Length;

    /// <summary>Runs both networks over all samples.</summary>
    /// <param name="graph">The network.</param>
    /// <param name="unit">The unit.</param>
    /// <param name="quantized">The network with quantized layers.</param>
    /// <param name="plain">The float network.</param>
    /// <param name="samples">Samples.</param>
    /// <param name="keepFloatInputs">Whether the float network's inputs of the unit are needed too.</param>
    /// <param name="cancellationToken">Checked between nodes.</param>
    public static UnitData Capture(
        Graph graph, ReconstructionUnit unit, GradientExecutor quantized, GradientExecutor plain, ICalibrationSamples samples, bool keepFloatInputs, CancellationToken cancellationToken)
    {
        int batch = graph.Inputs["timestep"].Shape[0];
        UnitData data = new(batch, samples.Count);
        IReadOnlyList<Node> plainNodes = keepFloatInputs ? [.. unit.Outputs, .. unit.Inputs] : unit.Outputs;
        int[] numbers = new int[batch];
        for (int first = 0; first < samples.Count; first += batch)
        {
            // The last batch is filled with samples that are there already.
            for (int i = 0; i < batch; i++) numbers[i] = (first + i) % samples.Count;
            int count = Math.Min(batch, samples.Count - first);
            IReadOnlyDictionary<string, float[]> inputs = samples.Batch(numbers);
            Dictionary<Node, float[]> rows = GradientExecutor.Rows(graph, inputs);
            RunSettings settings = new() { Timesteps = inputs["timestep"], Record = false };
            Tape quantizedTape = quantized.Run(rows, unit.Inputs.ToArray(), settings, cancellationToken), plainTape = plain.Run(rows, plainNodes.ToArray(), settings, cancellationToken);
            inputs["timestep"].AsSpan(0, count).CopyTo(data._timesteps.AsSpan(first));
            foreach (Node node in unit.Inputs) data.Store(data._quantized, node, quantizedTape[node], first, count);
            foreach (Node node in unit.Outputs) data.Store(data._targets, node, plainTape[node], first, count);
            if (!keepFloatInputs) continue;
            foreach (Node node in unit.Inputs) data.Store(data._float, node, plainTape[node], first, count);
        }

        return data;
    }

    /// <summary>Some samples as a batch; with a share below 1, elements of the inputs are drawn from both networks.</summary>
    public UnitBatch Batch(ReadOnlySpan<int> samples, double quantizedShare, ulong seed)
    {
        int[] chosen = samples.ToArray();
        float[] Gather(float[] all) => SampleRows.Gather(all, all.Length / Count, chosen);
        Dictionary<Node, float[]> inputs = _quantized.ToDictionary(pair => pair.Key, pair => Gather(pair.Value));
        if (quantizedShare < 1)
        {
            foreach ((Node node, float[] values) in inputs) Omission.Of(new QuantizationDrop(quantizedShare, seed), $"input {node.Id}").Replace(0, Gather(_float[node]), null, values);
        }

        return new UnitBatch(inputs, _targets.ToDictionary(pair => pair.Key, pair => Gather(pair.Value)), Gather(_timesteps));
    }

    private void Store(Dictionary<Node, float[]> all, Node node, float[] values, int first, int count)
    {
        if (!all.TryGetValue(node, out float[]? stored)) all.Add(node, stored = SampleRows.Allocate(node, _batch, Count));
        int elements = values.Length / _batch;
        values.AsSpan(0, count * elements).CopyTo(stored.AsSpan(first * elements));
    }
}

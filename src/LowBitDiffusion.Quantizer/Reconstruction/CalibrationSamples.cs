using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantizer.Autograd;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>Inputs of a network on which it is calibrated: of a denoiser points of trajectories, each with its timestep and condition.</summary>
public interface ICalibrationSamples
{
    /// <summary>How many there are.</summary>
    int Count { get; }

    /// <summary>Inputs of some samples, as one batch: every input of the network by name, row-major.</summary>
    /// <param name="samples">Numbers of the samples, in the batch's order.</param>
    IReadOnlyDictionary<string, float[]> Batch(ReadOnlySpan<int> samples);
}

/// <summary>Samples held in memory.</summary>
public sealed class InMemoryCalibrationSamples : ICalibrationSamples
{
    private readonly IReadOnlyDictionary<string, float[]> _inputs;

    /// <summary>Takes all samples as one large batch.</summary>
    /// <param name="inputs">Every input of the network by name, row-major, sample after sample; kept, not copied.</param>
    /// <param name="count">How many samples these are.</param>
    /// <exception cref="ArgumentException">There are none, or an input does not divide into so many samples.</exception>
    public InMemoryCalibrationSamples(IReadOnlyDictionary<string, float[]> inputs, int count)
    {
        Count = count > 0 ? count : throw new ArgumentException("there must be a sample", nameof(count));
        foreach ((string name, float[] values) in inputs)
        {
            if (values.Length == 0 || values.Length % Count != 0) throw new ArgumentException($"{values.Length} elements of '{name}' are not {Count} samples", nameof(inputs));
        }

        _inputs = inputs;
    }

    /// <inheritdoc/>
    public int Count { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, float[]> Batch(ReadOnlySpan<int> samples)
    {
        int[] chosen = samples.ToArray();
        return _inputs.ToDictionary(input => input.Key, input => SampleRows.Gather(input.Value, input.Value.Length / Count, chosen));
    }
}

/// <summary>Values of many samples, one after the other.</summary>
internal static class SampleRows
{
    /// <summary>Samples in a graph's batch: the first extent of any input.</summary>
    public static int BatchOf(Graph graph) => graph.Inputs.Values.First().Shape[0];

    public static float[] Gather(float[] all, int elements, ReadOnlySpan<int> samples)
    {
        float[] batch = Vectors.Allocate((long)samples.Length * elements);
        for (int i = 0; i < samples.Length; i++) all.AsSpan(samples[i] * elements, elements).CopyTo(batch.AsSpan(i * elements));
        return batch;
    }

    public static float[] Allocate(Node node, int batch, int samples) => new float[checked(node.Shape.Elements / batch * samples)];
}

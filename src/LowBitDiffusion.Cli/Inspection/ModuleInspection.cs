using System.Text.Json.Serialization;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Cli.Inspection;

/// <summary>One convolution or linear layer: its shape, its precision, what it costs for one image.</summary>
/// <param name="cost">Its arithmetic.</param>
internal sealed class ModuleInspection(OperationCost cost)
{
    /// <summary>Shape of the weight.</summary>
    public required IReadOnlyList<int> WeightShape { get; init; }

    /// <summary>The module's name.</summary>
    public string Module => cost.Name;

    /// <summary>Bits of a weight code; 32 for float.</summary>
    public int WeightBits => cost.WeightBits;

    /// <summary>Bits of an activation code; 32 for float.</summary>
    public int ActivationBits => cost.ActivationBits;

    /// <summary>Multiply-accumulates for one image.</summary>
    public long Macs => cost.Macs;

    /// <summary>Bit operations for one image.</summary>
    public long BitOperations => cost.BitOperations;

    /// <summary>Whether it runs once per step and not once before the loop.</summary>
    public bool InLoop => cost.InLoop;

    /// <summary>Bytes of weight and bias in single precision.</summary>
    public required long FloatBytes { get; init; }

    /// <summary>Bytes of all its tensors in the file.</summary>
    public required long StoredBytes { get; init; }

    /// <summary>Activation scales over timesteps, one row per half of the input; empty in float.</summary>
    public required IReadOnlyList<ActivationScales> Scales { get; init; }

    /// <summary>What looks wrong.</summary>
    public required IReadOnlyList<string> Warnings { get; init; }

    /// <summary>Looks at one layer.</summary>
    /// <param name="folder">Where it is stored.</param>
    /// <param name="op">The layer.</param>
    /// <param name="cost">Its arithmetic.</param>
    public static ModuleInspection Of(NetworkFolder folder, MatrixOp op, OperationCost cost)
    {
        QuantizedModule? quantized = folder.Weights.Quantized(op.Module);
        IReadOnlyList<ActivationScales> scales = quantized is null ? [] : [.. Enumerable.Range(0, quantized.Input.Segments).Select(segment => ActivationScales.Of(quantized.Input, segment))];
        return new ModuleInspection(cost)
        {
            WeightShape = [.. op.WeightShape],
            FloatBytes = op.Parameters.Sum(parameter => parameter.Shape.Elements) * sizeof(float),
            StoredBytes = quantized is null ? op.Parameters.Sum(parameter => folder.StoredBytes(parameter.Name)) : LowBitCodec.Describe(quantized).Sum(tensor => tensor.ByteLength),
            Scales = scales,
            Warnings = quantized is null ? [] : ScaleWarnings.Of(quantized, scales),
        };
    }
}

/// <summary>The quantizer of one half of an input, or of the whole, over the calibrated timesteps.</summary>
/// <param name="Timesteps">Ascending.</param>
/// <param name="Scales">One per timestep.</param>
/// <param name="ZeroPoints">One per timestep.</param>
internal sealed record ActivationScales(float[] Timesteps, float[] Scales, int[] ZeroPoints)
{
    /// <summary>Smallest scale.</summary>
    [JsonIgnore]
    public float Minimum => Scales.Min();

    /// <summary>Largest scale.</summary>
    [JsonIgnore]
    public float Maximum => Scales.Max();

    /// <summary>Reads one column of a table.</summary>
    public static ActivationScales Of(TimestepTable table, int segment)
    {
        int[] rows = [.. Enumerable.Range(0, table.Timesteps.Length)];
        float[] scales = table.Scales.ToArray();
        int[] zeroPoints = table.ZeroPoints.ToArray();
        return new ActivationScales(
            table.Timesteps.ToArray(), [.. rows.Select(row => scales[row * table.Segments + segment])], [.. rows.Select(row => zeroPoints[row * table.Segments + segment])]);
    }
}

using System.Text.Json.Serialization;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Cli.Inspection;

/// <summary>One convolution or linear layer: its shape, its precision, what it costs for one image.</summary>
internal sealed record ModuleInspection
{
    private const int FloatBits = 32;

    /// <summary>The module's name.</summary>
    public required string Module { get; init; }

    /// <summary>Shape of the weight.</summary>
    public required IReadOnlyList<int> WeightShape { get; init; }

    /// <summary>Bits of a weight code; 32 for float.</summary>
    public required int WeightBits { get; init; }

    /// <summary>Bits of an activation code; 32 for float.</summary>
    public required int ActivationBits { get; init; }

    /// <summary>Multiply-accumulates for one image.</summary>
    public required long Macs { get; init; }

    /// <summary>MACs · weight bits · activation bits (van Baalen et al. 2020, "Bayesian Bits").</summary>
    public long BitOperations => Macs * WeightBits * ActivationBits;

    /// <summary>Whether it runs once per step and not once before the loop.</summary>
    public required bool InLoop { get; init; }

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
    /// <param name="uses">The nodes that apply it.</param>
    public static ModuleInspection Of(NetworkFolder folder, IReadOnlyList<Node> uses)
    {
        MatrixOp op = (MatrixOp)uses[0].Op;
        QuantizedModule? quantized = folder.Weights.Quantized(op.Module);
        IReadOnlyList<ActivationScales> scales = quantized is null ? [] : [.. Enumerable.Range(0, quantized.Input.Segments).Select(segment => ActivationScales.Of(quantized.Input, segment))];
        return new ModuleInspection
        {
            Module = op.Module,
            WeightShape = [.. op.WeightShape],
            WeightBits = quantized?.WeightBits ?? FloatBits,
            ActivationBits = quantized?.Input.Bits ?? FloatBits,
            Macs = uses.Sum(use => use.Shape.Positions * op.WeightShape.Elements),
            InLoop = uses.Any(use => use.Dependence.HasFlag(Dependence.Sample)),
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

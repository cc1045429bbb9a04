using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>How a model is quantized after training.</summary>
public sealed record PostTrainingOptions
{
    /// <summary>Which layer gets which precision.</summary>
    public required PrecisionRules Rules { get; init; }

    /// <summary>Precision of layers that no rule names; what the file calls its default.</summary>
    public required Precision Standard { get; init; }

    /// <summary>How activation ranges are collected.</summary>
    public required CalibrationOptions Calibration { get; init; }

    /// <summary>How weight ranges are chosen.</summary>
    public RangeMethod WeightRange { get; init; } = RangeMethod.Mse;

    /// <summary>Whether weights of fewer than 8 bits have signed codes without zero points, as those of 8 bits always have.</summary>
    public bool SymmetricWeights { get; init; }

    /// <summary>Input channels that share a weight scale; 0 for one scale per output channel. Layers whose channels it does not divide have one per output channel.</summary>
    public int GroupChannels { get; init; }

    /// <summary>How attentions are computed.</summary>
    public AttentionPrecision Attention { get; init; }

    /// <summary>How F32 tensors that are not quantized are stored: F32, F16 or BF16.</summary>
    public DType FloatType { get; init; } = DType.F32;

    /// <summary>Pictures drawn to measure activations and trajectories for the quality report; 0 for weights alone.</summary>
    public int ReportImages { get; init; } = 8;

    /// <summary>Whether an output folder that exists is replaced.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>How far quantizing is.</summary>
/// <param name="Stage">What is being done.</param>
/// <param name="Fraction">Share of the stage that is done, 0 to 1.</param>
public readonly record struct QuantizationProgress(string Stage, double Fraction);

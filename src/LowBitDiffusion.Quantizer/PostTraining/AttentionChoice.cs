using LowBitDiffusion.Execution;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Methods;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>How attentions were chosen to be computed, by the trajectories of the quantized network against the float one's.</summary>
/// <param name="Chosen"><c>int8</c> or <c>float</c>, as in the file.</param>
/// <param name="FloatPsnr">Peak signal-to-noise ratio of the final samples in decibels with attentions in float; null without any difference.</param>
/// <param name="Int8Psnr">The same with attentions in integers.</param>
public sealed record AttentionChoice(string Chosen, double? FloatPsnr, double? Int8Psnr)
{
    /// <summary>
    /// Decibels that attentions in integers may cost: half a decibel is 12 % more noise power than the quantized layers make by themselves.
    /// </summary>
    public const double Allowed = 0.5;

    /// <summary>Measures a quantized network with attentions as the request says, or both ways, of which it takes the integers if they cost no more than <see cref="Allowed"/>.</summary>
    /// <exception cref="InvalidRequestException">There are no pictures to decide by.</exception>
    internal static (QualityReport Report, AttentionPrecision Attention) Measure(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules)
    {
        if (run.Request.Attention is { } asked) return (With(asked), asked);
        QualityReport exact = With(AttentionPrecision.Float), integers = With(AttentionPrecision.Int8);
        AttentionPrecision chosen = Decide(exact.Trajectory[^1].Psnr, integers.Trajectory[^1].Psnr);
        bool inIntegers = chosen == AttentionPrecision.Int8;
        return ((inIntegers ? integers : exact) with { Attention = new AttentionChoice(inIntegers ? "int8" : "float", exact.Trajectory[^1].Psnr, integers.Trajectory[^1].Psnr) }, chosen);

        QualityReport With(AttentionPrecision attention)
        {
            using PreparedModel quantized = new(run.Model.Network, run.Model.Weights.With(modules, attention));
            return QualityReporter.Measure(run, modules, ObservedPlannedNetwork.Factory(quantized, run.Pool));
        }
    }

    /// <summary>Integers if they cost no more than what is allowed; null stands for no difference at all.</summary>
    internal static AttentionPrecision Decide(double? floatPsnr, double? int8Psnr) =>
        int8Psnr is not { } integers || floatPsnr - integers <= Allowed ? AttentionPrecision.Int8 : AttentionPrecision.Float;
}

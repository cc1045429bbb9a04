using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Methods;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>How attentions were chosen to be computed, by what comes out of the quantized network against the float one.</summary>
/// <param name="Chosen"><c>int8</c>, <c>bf16</c> or <c>float</c>, as in the file.</param>
/// <param name="Psnr">What was measured: peak signal-to-noise ratio of the final samples (of a network without trajectories, of its worst output) in decibels by how attentions were computed; null without any difference.</param>
public sealed record AttentionChoice(string Chosen, IReadOnlyDictionary<string, double?> Psnr)
{
    /// <summary>
    /// Decibels that attentions may cost against those in float: half a decibel is 12 % more noise power than the quantized layers make by themselves.
    /// </summary>
    public const double Allowed = 0.5;

    /// <summary>
    /// Measures a quantized network with attentions as the request says. If it leaves the choice: with attentions in float, then in integers, then in bfloat16 (where this processor
    /// has it), and takes the first of the latter two that costs no more than <see cref="Allowed"/>, else float.
    /// </summary>
    /// <exception cref="InvalidRequestException">There are no pictures to decide by.</exception>
    internal static (QualityReport Report, AttentionPrecision Attention) Measure(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules)
    {
        if (run.Request.Attention is { } asked) return (With(asked), asked);
        QualityReport exact = With(AttentionPrecision.Float);
        Dictionary<string, double?> measured = new() { [Name(AttentionPrecision.Float)] = Final(exact) };
        foreach (AttentionPrecision faster in (AttentionPrecision[])[AttentionPrecision.Int8, .. Bf16Attention.IsSupported ? [AttentionPrecision.Bf16] : Array.Empty<AttentionPrecision>()])
        {
            QualityReport report = With(faster);
            measured.Add(Name(faster), Final(report));
            if (CostsLittle(Final(exact), Final(report))) return (report with { Attention = new AttentionChoice(Name(faster), measured) }, faster);
        }

        return (exact with { Attention = new AttentionChoice(Name(AttentionPrecision.Float), measured) }, AttentionPrecision.Float);

        QualityReport With(AttentionPrecision attention) =>
            QualityReporter.Measure(run, modules, run.NetworksWith(run.Model.Weights.With(modules, attention)));
    }

    /// <summary>Whether the faster way costs no more than what is allowed; null stands for no difference at all.</summary>
    internal static bool CostsLittle(double? inFloat, double? faster) => faster is not { } decibels || inFloat - decibels <= Allowed;

    private static double? Final(QualityReport report) => report.FinalPsnr;

    private static string Name(AttentionPrecision attention) => attention.ToString().ToLowerInvariant();
}

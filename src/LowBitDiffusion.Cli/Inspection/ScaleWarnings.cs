using System.Globalization;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Cli.Inspection;

/// <summary>Signs that a calibration went wrong. None is proof; each is worth a look at the layer.</summary>
internal static class ScaleWarnings
{
    // Neighbouring timesteps see nearly the same image: a scale that jumps was set by an outlier, or by too few images.
    private const float Jump = 8;

    // A range far below the usual one is that of an input that was zero, or of a step that was never observed.
    private const float Collapse = 1f / 256;

    // A one-sided range with a scale this much above the median spends its codes on values that are rarely there.
    private const float OneSided = 4;

    // An output channel this far above the median makes a shared precision too coarse for the others, or is dead weight itself.
    private const float WeightOutlier = 32;

    /// <summary>Looks at a module's scales.</summary>
    /// <param name="module">The module.</param>
    /// <param name="inputs">Its activation scales, by half.</param>
    public static IReadOnlyList<string> Of(QuantizedModule module, IReadOnlyList<ActivationScales> inputs)
    {
        List<string> warnings = [];
        for (int half = 0; half < inputs.Count; half++)
            warnings.AddRange(OfInput(inputs[half], (1 << module.Input.Bits) - 1).Select(warning => inputs.Count == 1 ? warning : $"{(half == 0 ? "first" : "second")} half: {warning}"));
        float median = Median(module.WeightScales), largest = module.WeightScales.Max();
        if (largest > WeightOutlier * median) warnings.Add(Text($"a weight scale of {largest:G3} is {largest / median:0}x the median {median:G3}"));
        return warnings;
    }

    private static IEnumerable<string> OfInput(ActivationScales input, int maximumCode)
    {
        float median = Median(input.Scales);
        for (int i = 0; i < input.Scales.Length; i++)
        {
            float scale = input.Scales[i], timestep = input.Timesteps[i];
            if (i > 0 && Math.Max(scale / input.Scales[i - 1], input.Scales[i - 1] / scale) is > Jump and var ratio)
                yield return Text($"the scale jumps by x{ratio:0.0} between timesteps {input.Timesteps[i - 1]} and {timestep}");
            if (scale < Collapse * median) yield return Text($"the range collapses at timestep {timestep}: scale {scale:G3}, median {median:G3}");
            if (scale > OneSided * median && (input.ZeroPoints[i] == 0 || input.ZeroPoints[i] == maximumCode))
                yield return Text($"a one-sided range at timestep {timestep}: zero point {input.ZeroPoints[i]} with scale {scale:G3}, median {median:G3}");
        }
    }

    private static float Median(float[] values) => values.Order().ElementAt(values.Length / 2);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using LowBitDiffusion.Quantizer.Metrics;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>What one layer lost.</summary>
/// <param name="Module">The layer.</param>
/// <param name="Precision">Its precision: <c>w4a8</c>, <c>float</c>.</param>
/// <param name="WeightShape">Shape of its weight.</param>
/// <param name="WeightSqnr">Signal-to-quantization-noise ratio of the weight in decibels; null in float.</param>
/// <param name="ActivationSqnr">The same of its input over all measured timesteps; null in float or where it was not measured.</param>
/// <param name="WorstActivationSqnr">That of the worst timestep.</param>
/// <param name="WorstTimestep">The worst timestep.</param>
/// <param name="Bytes">Bytes of the layer in the file.</param>
/// <param name="FloatBytes">Bytes of the same in F32.</param>
public sealed record ModuleQuality(
    string Module, string Precision, IReadOnlyList<int> WeightShape, double? WeightSqnr, double? ActivationSqnr, double? WorstActivationSqnr, float? WorstTimestep, long Bytes, long FloatBytes);

/// <summary>Bytes of one kind of data.</summary>
/// <param name="Component">What they hold.</param>
/// <param name="Bytes">How many.</param>
public sealed record ComponentSize(string Component, long Bytes);

/// <summary>How far the quantized model's samples are from the float model's, both on trajectories of their own from the same noise.</summary>
/// <param name="Timestep">Timestep of the call after which they are compared.</param>
/// <param name="Psnr">Peak signal-to-noise ratio in decibels; null without any difference.</param>
/// <param name="Range">The range that counts as peak: 2 for pixels; for latents from the smallest to the largest value of the float model's samples at this point.</param>
public sealed record TrajectoryPoint(float Timestep, double? Psnr, double Range)
{
    /// <summary>What was measured after a call.</summary>
    /// <param name="timestep">Its timestep.</param>
    /// <param name="quality">The quantized model's samples against the float model's.</param>
    /// <param name="values">Range of the float model's samples, which counts where the model draws latents: they have none of their own.</param>
    /// <param name="latents">Whether it does.</param>
    internal static TrajectoryPoint Of(float timestep, SignalQuality quality, ValueRange values, bool latents)
    {
        double range = latents ? (double)values.Max - values.Min : 2, psnr = quality.Psnr(range);
        return new TrajectoryPoint(timestep, double.IsFinite(psnr) ? psnr : null, range);
    }
}

/// <summary>How far an output of the quantized network is from the float network's, both on the same inputs.</summary>
/// <param name="Output">Name of the output.</param>
/// <param name="Psnr">Peak signal-to-noise ratio in decibels; null without any difference.</param>
/// <param name="Range">The range that counts as peak: 2 for pictures; else from the smallest to the largest value of the float network's.</param>
public sealed record OutputQuality(string Output, double? Psnr, double Range);

/// <summary>What quantization cost and what it saved.</summary>
public sealed record QualityReport
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>Every convolution and linear layer, in the network's order.</summary>
    public required IReadOnlyList<ModuleQuality> Modules { get; init; }

    /// <summary>Bytes by kind of data, the whole network.</summary>
    public required IReadOnlyList<ComponentSize> Sizes { get; init; }

    /// <summary>Bytes of the float network in F32.</summary>
    public required long FloatBytes { get; init; }

    /// <summary>Outputs of a network without trajectories, an autoencoder or a text encoder; null for a denoiser, and if nothing was measured.</summary>
    public IReadOnlyList<OutputQuality>? Outputs { get; init; }

    /// <summary>The trajectory, from noise to picture; empty if it was not measured.</summary>
    public required IReadOnlyList<TrajectoryPoint> Trajectory { get; init; }

    /// <summary>Pictures behind activations and trajectory, drawn from noise that calibration did not see; a text encoder's texts are those of the calibration.</summary>
    public required int Images { get; init; }

    /// <summary>How attentions came to be computed as they are; null if that was asked for.</summary>
    public AttentionChoice? Attention { get; init; }

    /// <summary>Whether trajectories are those of latents, before an autoencoder makes pictures of them.</summary>
    public required bool Latents { get; init; }

    /// <summary>Bytes of the network in the file.</summary>
    public long Bytes => Sizes.Sum(size => size.Bytes);

    /// <summary>PSNR of what comes out at the end: the last sample, or the worst output; null without any difference.</summary>
    internal double? FinalPsnr => Trajectory.Count > 0 ? Trajectory[^1].Psnr : Outputs?.Min(output => output.Psnr);

    /// <summary>UTF-8 JSON with keys in snake case.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, s_json);

    /// <summary>A table to read.</summary>
    public string ToText()
    {
        StringBuilder text = new();
        int width = Modules.Select(module => module.Module.Length).Append("layer".Length).Max();
        text.Append(CultureInfo.InvariantCulture, $"{"layer".PadRight(width)}  {"precision",-9}  {"weight dB",9}  {"input dB",9}  {"worst dB",9}  {"at t",5}  {"bytes",10}  {"of float",8}\n");
        foreach (ModuleQuality module in Modules)
        {
            text.Append(CultureInfo.InvariantCulture, $"{module.Module.PadRight(width)}  {module.Precision,-9}  {module.WeightSqnr,9:0.0}  {module.ActivationSqnr,9:0.0}  ");
            text.Append(CultureInfo.InvariantCulture, $"{module.WorstActivationSqnr,9:0.0}  {module.WorstTimestep,5:0}  {module.Bytes,10:#,0}  {(double)module.Bytes / module.FloatBytes,8:0.0 %}\n");
        }

        text.Append('\n');
        foreach (ComponentSize size in Sizes) text.Append(CultureInfo.InvariantCulture, $"{size.Component,-24} {size.Bytes,12:#,0} bytes\n");
        text.Append(CultureInfo.InvariantCulture, $"{"total",-24} {Bytes,12:#,0} bytes, {(double)Bytes / FloatBytes:0.0 %} of float\n");
        if (Trajectory.Count > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\nPSNR of {Images} trajectories{(Latents ? " of latents" : "")} against float:\n");
            foreach (TrajectoryPoint point in Trajectory) text.Append(CultureInfo.InvariantCulture, $"t {point.Timestep,5:0}  {Decibels(point.Psnr)}\n");
        }

        if (Outputs is not null)
        {
            text.Append(CultureInfo.InvariantCulture, $"\nPSNR of outputs on {Images} inputs against float:\n");
            foreach (OutputQuality output in Outputs) text.Append(CultureInfo.InvariantCulture, $"{output.Output,-24} {Decibels(output.Psnr)}\n");
        }

        if (Attention is { } choice)
            text.Append(CultureInfo.InvariantCulture, $"\nattentions in {choice.Chosen}: {string.Join(", ", choice.Psnr.Select(way => $"{Decibels(way.Value)} in {way.Key}"))}; {AttentionChoice.Allowed:0.0} dB are allowed\n");
        return text.ToString();

        static string Decibels(double? psnr) => psnr is { } value ? value.ToString("0.0 dB", CultureInfo.InvariantCulture) : "equal";
    }
}

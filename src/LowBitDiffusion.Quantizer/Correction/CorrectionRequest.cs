using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Quantizer.Correction;

/// <summary>A quantized model whose predictions are to be corrected. What is null is the model's own default.</summary>
public sealed record CorrectionRequest
{
    /// <summary>The quantized model's folder; the correction is written into it.</summary>
    public required string Model { get; init; }

    /// <summary>The folder of the float model it was made from.</summary>
    public required string Reference { get; init; }

    /// <summary>Steps of the trajectories: the correction has an entry for each.</summary>
    public int? Steps { get; init; }

    /// <summary>Guidance of the trajectories; the model draws with this guidance alone afterwards.</summary>
    public float? GuidanceScale { get; init; }

    /// <summary>DDIM's η of the trajectories.</summary>
    public float Eta { get; init; }

    /// <summary>Trajectories, rounded up to whole batches; null for 64, of a model that draws latents 8.</summary>
    public int? Images { get; init; }

    /// <summary>Pictures drawn at once; with guidance the networks see twice as many. Null for 8, of a model that draws latents 1.</summary>
    public int? Batch { get; init; }

    /// <summary>Seed of the first picture.</summary>
    public ulong Seed { get; init; }

    /// <summary>Threads; null for one per processor.</summary>
    public int? Threads { get; init; }
}

/// <summary>What a correction does to the predictions it was collected on.</summary>
/// <param name="Correction">The correction.</param>
/// <param name="Points">For every timestep, ascending: mean square of the error before, and after.</param>
public sealed record CorrectionReport(PredictionCorrection Correction, IReadOnlyList<(float Timestep, double Before, double After)> Points);

using LowBitDiffusion.Imaging.Plotting;
using LowBitDiffusion.Quantizer.PostTraining;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>One model of a comparison.</summary>
public sealed record ComparedModel
{
    /// <summary>What the table calls it: its folder's name, or path where two are alike.</summary>
    public required string Name { get; init; }

    /// <summary>Its folder.</summary>
    public required string Folder { get; init; }

    /// <summary>Who chose its numbers, of several networks each method once; null for float.</summary>
    public required string? Method { get; init; }

    /// <summary>Whether its predictions are corrected after PTQD.</summary>
    public required bool Corrected { get; init; }

    /// <summary>Precision of the denoiser's layers that no rule names: <c>w4a8</c>, or <c>float</c>; behind it those of other quantized networks, <c>float, vae w8a8</c>.</summary>
    public required string Precision { get; init; }

    /// <summary>Bytes of the denoising network's tensors in the file.</summary>
    public required long FileBytes { get; init; }

    /// <summary>Bytes of the model's weights as they lie in memory.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>Bit operations of one picture and step.</summary>
    public required long BitOperationsPerStep { get; init; }

    /// <summary>Mean PSNR of its pictures against the reference's in decibels; null for the reference, or if none differs.</summary>
    public double? Psnr { get; init; }

    /// <summary>Mean SSIM; null for the reference and for pictures smaller than its window.</summary>
    public double? Ssim { get; init; }

    /// <summary>Share of pictures that the classifier gives their label.</summary>
    public double? LabelAccuracy { get; init; }

    /// <summary>Fréchet distance to real pictures.</summary>
    public double? FrechetDistance { get; init; }

    /// <summary>Fréchet distance to the reference's pictures.</summary>
    public double? FrechetDistanceToReference { get; init; }

    /// <summary>How far its samples are from the reference's after every call of the sampler.</summary>
    public IReadOnlyList<TrajectoryPoint> Trajectory { get; init; } = [];
}

/// <summary>Quantized models compared with the float model they were made from.</summary>
public sealed record ComparisonResult
{
    /// <summary>Pictures of each model.</summary>
    public required int Count { get; init; }

    /// <summary>Steps of the sampler.</summary>
    public required int Steps { get; init; }

    /// <summary>Guidance scale.</summary>
    public required float GuidanceScale { get; init; }

    /// <summary>Seed of the first picture.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Pictures whose trajectories were compared.</summary>
    public required int Trajectories { get; init; }

    /// <summary>The float model.</summary>
    public required ComparedModel Reference { get; init; }

    /// <summary>The quantized models, in the order of the request.</summary>
    public required IReadOnlyList<ComparedModel> Models { get; init; }

    /// <summary>Distance from the float model's samples, step by step.</summary>
    public LinePlot TrajectoryPlot() => new()
    {
        Title = $"Distance from the float model's trajectories, {Trajectories} pictures",
        XLabel = "step",
        YLabel = "PSNR of the samples in dB",
        Series = [.. Models.Select(model => new PlotSeries(model.Name, [.. Enumerable.Range(1, model.Trajectory.Count).Select(step => (double)step)], [.. model.Trajectory.Select(point => point.Psnr ?? double.NaN)]))],
    };
}

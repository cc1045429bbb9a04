using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using LowBitDiffusion.Quantizer.PostTraining;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>One pair of pictures from the same noise.</summary>
/// <param name="Seed">Seed of both.</param>
/// <param name="Label">Label of both, or null.</param>
/// <param name="Psnr">Peak signal-to-noise ratio in decibels; null for equal pictures.</param>
/// <param name="Ssim">Structural similarity; null for pictures smaller than its window.</param>
/// <param name="Predicted">What the classifier takes the model's picture for; null without a classifier.</param>
/// <param name="ReferencePredicted">What it takes the reference's picture for.</param>
public sealed record ImagePair(ulong Seed, int? Label, double? Psnr, double? Ssim, int? Predicted, int? ReferencePredicted)
{
    /// <summary>Prompt of both, or null.</summary>
    public string? Prompt { get; init; }
}

/// <summary>How good one model's pictures are by themselves.</summary>
/// <param name="LabelAccuracy">Share of pictures that the classifier gives their label; null without labels.</param>
/// <param name="FrechetDistance">Fréchet distance of the classifier's features to those of real pictures; null without reference statistics or with fewer than two pictures.</param>
public sealed record ModelScore(double? LabelAccuracy, double? FrechetDistance);

/// <summary>A model compared with a reference, noise by noise.</summary>
public sealed record EvaluationResult
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>The model's folder.</summary>
    public required string Model { get; init; }

    /// <summary>The reference's folder.</summary>
    public required string Reference { get; init; }

    /// <summary>Pictures compared.</summary>
    public required int Count { get; init; }

    /// <summary>Rows of a picture.</summary>
    public required int Height { get; init; }

    /// <summary>Columns of a picture.</summary>
    public required int Width { get; init; }

    /// <summary>Whether the models draw latents: what is compared are pictures, each decoded by its own model's autoencoder.</summary>
    public required bool Decoded { get; init; }

    /// <summary>Steps of the sampler.</summary>
    public required int Steps { get; init; }

    /// <summary>Guidance scale.</summary>
    public required float GuidanceScale { get; init; }

    /// <summary>Bytes of the model's weights as they lie in memory.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>Mean of the pairs' PSNR in decibels, over pairs that differ; null if none does.</summary>
    public double? MeanPsnr { get; init; }

    /// <summary>Mean of the pairs' SSIM; null for pictures smaller than its window.</summary>
    public double? MeanSsim { get; init; }

    /// <summary>The model by itself; null without a classifier.</summary>
    public ModelScore? Score { get; init; }

    /// <summary>The reference by itself; null without a classifier.</summary>
    public ModelScore? ReferenceScore { get; init; }

    /// <summary>Fréchet distance between the two models' pictures; null without a classifier or with fewer than two pictures.</summary>
    public double? MutualFrechetDistance { get; init; }

    /// <summary>How far the samples are from the reference's after every call of the sampler, over all pictures whose trajectories were watched; empty if none was.</summary>
    public required IReadOnlyList<TrajectoryPoint> Trajectory { get; init; }

    /// <summary>Every pair, in the order of the seeds.</summary>
    public required IReadOnlyList<ImagePair> Pairs { get; init; }

    /// <summary>UTF-8 JSON with keys in snake case.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, s_json);

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="JsonException">It is something else.</exception>
    internal static EvaluationResult FromJson(ReadOnlySpan<byte> json) => JsonSerializer.Deserialize<EvaluationResult>(json, s_json) ?? throw new JsonException("expected an object, found null");

    /// <summary>A table to read.</summary>
    public string ToText()
    {
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"{Count} pictures of {Width}x{Height}{(Decoded ? ", decoded from latents" : "")}, {Steps} steps, guidance {GuidanceScale}\n\n");
        Line("", "model", "reference");
        if (Score is not null && ReferenceScore is not null)
        {
            Line("label accuracy", Figures.Share(Score.LabelAccuracy), Figures.Share(ReferenceScore.LabelAccuracy));
            Line("Fréchet distance", Figures.Distance(Score.FrechetDistance), Figures.Distance(ReferenceScore.FrechetDistance));
            Line("Fréchet, model–reference", Figures.Distance(MutualFrechetDistance));
        }

        Line("PSNR", Figures.Psnr(MeanPsnr));
        Line("SSIM", Figures.Ssim(MeanSsim));
        return text.ToString();

        void Line(string name, string model, string? reference = null) => text.Append(CultureInfo.InvariantCulture, $"{name,-24} {model,12}{(reference is null ? "" : $" {reference,12}")}\n");
    }
}

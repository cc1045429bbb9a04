using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Pipelines;

/// <summary>What to draw. One image per label, or <see cref="Count"/> images of a model without labels.</summary>
public sealed record GenerationRequest
{
    /// <summary>Labels of a class-conditional model, one per image; empty for a model without labels.</summary>
    public IReadOnlyList<int> Labels { get; init; } = [];

    /// <summary>Images of a model without labels.</summary>
    public int Count { get; init; } = 1;

    /// <summary>Steps of the sampler; null for the model's default.</summary>
    public int? Steps { get; init; }

    /// <summary>Classifier-free guidance <c>e = e_null + g·(e_label − e_null)</c>; 1 for none, null for the model's default.</summary>
    public float? GuidanceScale { get; init; }

    /// <summary>Seed of the first image; image i has seed <c>Seed + i</c>. Ignored where <see cref="Seeds"/> is given.</summary>
    public ulong Seed { get; init; }

    /// <summary>One seed per image, or null.</summary>
    public IReadOnlyList<ulong>? Seeds { get; init; }

    /// <summary>Whose random numbers a seed stands for.</summary>
    public NoiseSource NoiseSource { get; init; } = NoiseSource.TorchCpu;

    /// <summary>DDIM's η: 0 deterministic, 1 as much noise as DDPM.</summary>
    public float Eta { get; init; }
}

/// <summary>How far a request is.</summary>
/// <param name="Finished">Images done.</param>
/// <param name="Images">Images of the request.</param>
/// <param name="Step">Steps done of the batch being drawn.</param>
/// <param name="Steps">Steps of a batch.</param>
/// <param name="Fraction">Share of the request that is done, 0 to 1.</param>
/// <param name="Elapsed">Time since the request began.</param>
public readonly record struct GenerationProgress(int Finished, int Images, int Step, int Steps, double Fraction, TimeSpan Elapsed);

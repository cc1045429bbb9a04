using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Evaluation;

/// <summary>What to draw for a comparison. What is null is the reference's own default.</summary>
/// <param name="Count">Pictures from each model; null for 1024, of models that draw latents 8.</param>
/// <param name="Steps">Steps of the sampler.</param>
/// <param name="GuidanceScale">Guidance scale.</param>
/// <param name="Seed">Seed of the first picture; the others follow.</param>
/// <param name="Batch">Pictures asked for at once; the result does not depend on it. Null for 32, of models that draw latents 1.</param>
/// <param name="SheetImages">Pictures of each model on the contact sheet.</param>
/// <param name="Trajectories">Pictures, the first of them, whose samples are compared after every step of the sampler.</param>
public sealed record EvaluationOptions(int? Count = null, int? Steps = null, float? GuidanceScale = null, ulong Seed = 0, int? Batch = null, int SheetImages = 20, int Trajectories = 0)
{
    /// <summary>Prompts of models that take text, which take turns; null for <see cref="PromptList.Default"/>.</summary>
    public IReadOnlyList<string>? Prompts { get; init; }

    /// <summary>The same, encoded elsewhere.</summary>
    public PromptEmbeddings? PromptEmbeddings { get; init; }

    /// <summary>Rows of the pictures.</summary>
    public int? Height { get; init; }

    /// <summary>Columns of the pictures.</summary>
    public int? Width { get; init; }

    /// <summary>Refuses what makes no sense.</summary>
    /// <exception cref="InvalidRequestException">A number is out of range.</exception>
    internal void Check()
    {
        if (Count < 1) throw new InvalidRequestException("count", $"expected at least one picture, found {Count}");
        if (Batch < 1) throw new InvalidRequestException("batch", $"expected at least one picture, found {Batch}");
        if (SheetImages < 1) throw new InvalidRequestException("sheet", $"expected at least one picture, found {SheetImages}");
        if (Trajectories < 0) throw new InvalidRequestException("trajectories", $"expected 0 or more, found {Trajectories}");
    }
}

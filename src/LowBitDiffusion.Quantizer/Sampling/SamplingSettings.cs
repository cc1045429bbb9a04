using LowBitDiffusion.Pipelines;

namespace LowBitDiffusion.Quantizer.Sampling;

/// <summary>How pictures are drawn, and what they show.</summary>
/// <param name="Steps">Steps of the sampler.</param>
/// <param name="GuidanceScale">Scale of classifier-free guidance; 1 for none. Models without labels and text have none.</param>
public sealed record SamplingSettings(int Steps, float GuidanceScale = 1)
{
    // Many steps of a large network cost hours and show little that fewer do not: tables are looked up by the nearest timestep.
    private const int DefaultSteps = 20, MostStepsForLatents = 10;

    /// <summary>DDIM's η: 0 deterministic, 1 as much noise as DDPM. Other samplers ignore it.</summary>
    public float Eta { get; init; }

    /// <summary>Rows of pixels; null for the model's own.</summary>
    public int? Height { get; init; }

    /// <summary>Columns of pixels; null for the model's own.</summary>
    public int? Width { get; init; }

    /// <summary>Prompts that take turns; null for <see cref="PromptList.Default"/> where the model has a text encoder. What guidance leads away from is the empty prompt.</summary>
    public IReadOnlyList<string>? Prompts { get; init; }

    /// <summary>Prompts that were encoded elsewhere, which take turns; in place of <see cref="Prompts"/>, for models whose text encoder is not part of this library.</summary>
    public PromptEmbeddings? PromptEmbeddings { get; init; }

    /// <summary>
    /// The model's own choices, and without any: 20 steps and its pipeline's guidance. Latents for an autoencoder are drawn in at most 10 steps: it does not matter to it how well they were drawn.
    /// </summary>
    public static SamplingSettings For(SourceModel model)
    {
        if (model is not { Folder: { } folder, Description: { } description }) return new SamplingSettings(1);
        int steps = folder.DefaultSteps ?? DefaultSteps;
        return new(model.IsDenoiser ? steps : Math.Min(steps, MostStepsForLatents), model.Labels.Count > 0 || description.TakesText ? description.DefaultGuidanceScale : 1);
    }

    /// <summary>A request of one picture of each subject.</summary>
    internal GenerationRequest ToRequest(SourceModel model) => new()
    {
        Labels = model.Labels,
        Prompts = PromptList.For(model.Description!, Prompts, PromptEmbeddings),
        PromptEmbeddings = PromptEmbeddings,
        Height = Height,
        Width = Width,
        Steps = Steps,
        GuidanceScale = GuidanceScale,
        Eta = Eta,
    };
}

namespace LowBitDiffusion.Schedulers;

/// <summary>What a request asks of a scheduler.</summary>
/// <param name="Steps">Inference steps, 1 to the model's training steps.</param>
/// <param name="Batch">Images N in a batch.</param>
/// <param name="SampleLength">Elements of the whole batch <c>[N, C, H, W]</c>, a multiple of N.</param>
public sealed record SamplingRun(int Steps, int Batch, int SampleLength)
{
    /// <summary>DDIM's η: 0 deterministic, 1 as much noise as DDPM. Other schedulers ignore it.</summary>
    public double Eta { get; init; }

    /// <summary>Whether DDIM derives its noise direction from the clipped sample instead of from the model's prediction.</summary>
    public bool UseClippedModelOutput { get; init; }

    /// <summary>The shift μ of flow matching with dynamic shifting, which depends on the image's size. Required there, ignored elsewhere.</summary>
    public double? Mu { get; init; }

    /// <summary>LCM's <c>original_inference_steps</c>: the grid its steps are picked from. Null for the configuration's.</summary>
    public int? OriginalSteps { get; init; }

    /// <summary>
    /// Deviation of the noise that the prediction of a timestep carries, null for none. What of it reaches the next sample, DDIM with η, DDPM and Euler ancestral add less (PTQD: He et al. 2023);
    /// others ignore it.
    /// </summary>
    public Func<float, double>? PredictionNoise { get; init; }
}

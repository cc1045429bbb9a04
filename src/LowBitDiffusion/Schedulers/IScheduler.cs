using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// One sampling run: the discretised reverse process that turns noise into a sample, one model call after the other. Made by <see cref="SchedulerFactory"/>;
/// multistep solvers keep the
/// history of the run inside, so an instance serves one run. A loop does not need to know the kind:
/// <code>
/// x ← noise · InitialNoiseSigma
/// for call = 0 … Timesteps.Count − 1
///     ScaleModelInput(call, x, input)
///     prediction ← model(input, Timesteps[call])
///     Step(call, prediction, x, noise)
/// </code>
/// Samples are row-major batches <c>[N, C, H, W]</c>; a prediction has the sample's length, or twice that (<c>[N, 2C, H, W]</c>) when the model also predicts
/// a variance. Not thread-safe.
/// </summary>
public interface IScheduler
{
    /// <summary>
    /// The timestep of each model call, in calling order. Some solvers call the model more often than there are steps, and some have fractional timesteps.
    /// </summary>
    IReadOnlyList<float> Timesteps { get; }

    /// <summary>Standard deviation of the sample the run begins with.</summary>
    float InitialNoiseSigma { get; }

    /// <summary>
    /// Whether a run may begin at this call, as image-to-image does after <see cref="AddNoise"/>. Always true of call 0; some calls of Heun and PNDM continue
    /// the one before.
    /// </summary>
    /// <param name="call">Index into <see cref="Timesteps"/>.</param>
    bool CanBeginAt(int call);

    /// <summary>Whether <see cref="Step"/> draws noise, once and of the sample's size, at this call.</summary>
    /// <param name="call">Index into <see cref="Timesteps"/>.</param>
    bool NeedsNoise(int call);

    /// <summary>Scales a sample to what the model expects as input.</summary>
    /// <param name="call">Index into <see cref="Timesteps"/>.</param>
    /// <param name="sample">The batch.</param>
    /// <param name="scaled">Receives the model's input; may be the sample itself.</param>
    void ScaleModelInput(int call, ReadOnlySpan<float> sample, Span<float> scaled);

    /// <summary>Moves the sample to the next call's noise level.</summary>
    /// <param name="call">Index into <see cref="Timesteps"/>; one more than at the previous call; the first is one where the run can begin.</param>
    /// <param name="prediction">The model's output at this call.</param>
    /// <param name="sample">The batch, replaced by the next one.</param>
    /// <param name="noise">Where noise comes from; <see cref="BatchNoise"/> for a batch.</param>
    /// <exception cref="InvalidOperationException">Calls are out of order, or the run cannot begin here.</exception>
    void Step(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise);

    /// <summary>The clean sample the prediction implies, for previews. Changes nothing.</summary>
    /// <param name="call">Index into <see cref="Timesteps"/>.</param>
    /// <param name="prediction">The model's output at this call.</param>
    /// <param name="sample">The batch before <see cref="Step"/>.</param>
    /// <param name="original">Receives the predicted clean batch.</param>
    void PredictOriginal(int call, ReadOnlySpan<float> prediction, ReadOnlySpan<float> sample, Span<float> original);

    /// <summary>Noises a clean sample to the level a call expects: how image-to-image begins in the middle of a run.</summary>
    /// <param name="call">Index into <see cref="Timesteps"/>.</param>
    /// <param name="original">The clean batch.</param>
    /// <param name="noise">Noise of unit variance, of the batch's size.</param>
    /// <param name="noisy">Receives the noised batch; may be one of the inputs.</param>
    void AddNoise(int call, ReadOnlySpan<float> original, ReadOnlySpan<float> noise, Span<float> noisy);
}

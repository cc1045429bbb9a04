using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Distillation;

/// <summary>How a network is distilled. The defaults are those of EfficientDM's published script.</summary>
public sealed record DistillationOptions
{
    /// <summary>Updates in the paper: 160 trajectories of 100 steps.</summary>
    public const int PaperIterations = 16_000;

    /// <summary>Trajectories, one after the other; each step of one is an update.</summary>
    public int Epochs { get; init; } = 160;

    /// <summary>The trajectories: steps, guidance, η.</summary>
    public SamplingSettings Sampling { get; init; } = new(100, 1.5f) { Eta = 1 };

    /// <summary>Pictures of a trajectory; with guidance the network sees twice as many. Of a network without trajectories: inputs of an update.</summary>
    public int Images { get; init; } = 2;

    /// <summary>
    /// Learning rate of the adapters in weight steps: a layer's is <c>AdapterRate·mean(d_w)</c>. Adam does not see the scale of a gradient, so the scale that the paper multiplies gradients with (equation 8)
    /// must be in the rate.
    /// </summary>
    public double AdapterRate { get; init; } = 1.0 / 2500;

    /// <summary>Whether each layer's adapter has the rate of its own steps; else all have the mean of these rates.</summary>
    public bool ScaleAware { get; init; } = true;

    /// <summary>Learning rate of the weights' steps.</summary>
    public double WeightStepRate { get; init; } = 1e-6;

    /// <summary>Learning rate of the inputs' steps.</summary>
    public double InputStepRate { get; init; } = 5e-4;

    /// <summary>Whether <see cref="InputStepRate"/> is multiplied by the mean of the steps it moves, so that layers of any range move alike.</summary>
    public bool RelativeStepRates { get; init; }

    /// <summary>Learning rate of the inputs' zero points.</summary>
    public double InputZeroPointRate { get; init; } = 5e-4;

    /// <summary>AdamW's decay of the adapters; steps and zero points do not decay.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>Seed of noise and labels.</summary>
    public ulong Seed { get; init; }

    /// <summary>Bytes of values that a pass may keep for its backward pass; networks that would keep more compute each block a second time.</summary>
    public long ActivationMemory { get; init; } = 1L << 30;

    /// <summary>Updates between two savings of the state.</summary>
    public int SaveEvery { get; init; } = 500;
}

/// <summary>Where a distillation is.</summary>
/// <param name="Epoch">Trajectories finished.</param>
/// <param name="Epochs">Trajectories there will be.</param>
/// <param name="Iteration">Updates made.</param>
/// <param name="Iterations">Updates there will be.</param>
/// <param name="Timestep">Timestep of the last update.</param>
/// <param name="Loss">Its squared error per element of the guided prediction.</param>
/// <param name="TimeLeft">Estimate for all that is left.</param>
public sealed record DistillationProgress(int Epoch, int Epochs, int Iteration, int Iterations, float Timestep, double Loss, TimeSpan TimeLeft);

/// <summary>What became of one step of the trajectories.</summary>
/// <param name="Timestep">Its timestep.</param>
/// <param name="SqnrBefore">Signal to quantization noise of the guided prediction before, in decibels, on a trajectory that is not learned from.</param>
/// <param name="SqnrAfter">The same after.</param>
/// <param name="Losses">Squared error per element of the guided prediction at each update.</param>
public sealed record DistilledStep(float Timestep, double SqnrBefore, double SqnrAfter, IReadOnlyList<float> Losses);

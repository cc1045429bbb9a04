namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>What the weights of a single-file checkpoint do not say.</summary>
public sealed record CheckpointOptions
{
    /// <summary>Whether to read the UNet's running average over its training (<c>model_ema.*</c>) instead of its last state.</summary>
    public bool Ema { get; init; }

    /// <summary>
    /// What the UNet predicts, as schedulers call it: <c>epsilon</c> or <c>v_prediction</c>. Null for the known rule: Stable Diffusion 2 predicts v, except where the file holds the
    /// training step of one of its 512-pixel base models (875000 or 220000); a tensor named <c>v_pred</c> says v; everything else predicts the noise.
    /// </summary>
    public string? PredictionType { get; init; }

    /// <summary>
    /// A folder in diffusers' layout (<c>unet/config.json</c>, <c>scheduler/scheduler_config.json</c>, <c>tokenizer/vocab.json</c> …) whose files, as far as there are any, take the
    /// place of those that the weights' shapes and the published models suggest: for networks whose number of heads or groups is unusual.
    /// </summary>
    public string? ConfigFolder { get; init; }
}

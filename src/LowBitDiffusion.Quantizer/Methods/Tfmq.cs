using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Reconstruction;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>
/// TFMQ-DM (Huang et al., CVPR 2024): rounding learned block by block, with all that depends on the timestep alone as a block of its own, so that temporal features do not bend to what the pictures of the
/// calibration set need; then activation ranges of every timestep from the network with its learned weights. The runtime computes temporal features before its loop, from the learned layers.
/// </summary>
public sealed class Tfmq : BlockwiseMethod
{
    /// <inheritdoc/>
    public override string Name => "tfmq";

    /// <inheritdoc/>
    public override string Description => "learned rounding with the temporal layers as a block of their own, activation ranges of every timestep (TFMQ-DM, Huang et al. 2024)";

    /// <inheritdoc/>
    public override IReadOnlyList<Ingredient> Ingredients =>
    [
        new("tiar", "temporal information aware reconstruction; without: temporal layers are learned with the blocks that hold them"),
        new("fsc", "finite set calibration, ranges of every timestep; without: one for all timesteps"),
        new("rounding", "AdaRound, block by block; without: rounding to nearest"),
    ];

    /// <inheritdoc/>
    public override StartingPoint Start(Func<string, bool> uses) => new(RangeMethod.EmaMinMax, PerTimestep: uses("fsc"));

    /// <inheritdoc/>
    public override BlockPreset Preset(Func<string, bool> uses) =>
        new(uses("rounding") ? [new BlockStage("rounding", new ReconstructionOptions { Iterations = 20_000, RoundingRate = 1e-3 }, QuantizedInputs: false)] : []) { SeparateTemporal = uses("tiar") };
}

using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Reconstruction;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>
/// Q-Diffusion (Li et al., ICCV 2023): rounding learned block by block (BRECQ, AdaRound) on points of every timestep, then the steps of activations, one for all timesteps; shortcuts that read a concatenation
/// quantize its halves apart.
/// </summary>
public sealed class QDiffusion : BlockwiseMethod
{
    /// <inheritdoc/>
    public override string Name => "q-diffusion";

    /// <inheritdoc/>
    public override string Description => "learned rounding block by block, split shortcuts, one scale for all timesteps (Li et al. 2023)";

    /// <inheritdoc/>
    public override IReadOnlyList<Ingredient> Ingredients =>
    [
        new("split", "quantizers for each half of a concatenation; without: one"),
        new("rounding", "AdaRound, block by block; without: rounding to nearest"),
        new("steps", "learned activation steps; without: as calibrated"),
    ];

    /// <inheritdoc/>
    public override StartingPoint Start(Func<string, bool> uses) => new(Split: uses("split") ? SplitInputs.Concatenations : SplitInputs.None, PerTimestep: false);

    /// <inheritdoc/>
    public override BlockPreset Preset(Func<string, bool> uses) => new(
    [
        .. uses("rounding") ? [new BlockStage("rounding", new ReconstructionOptions { Iterations = 20_000, RoundingRate = 1e-3 }, QuantizedInputs: false)] : (BlockStage[])[],
        .. uses("steps") ? [new BlockStage("steps", new ReconstructionOptions { Iterations = 5_000, InputStepRate = 4e-5 }, QuantizedInputs: true)] : (BlockStage[])[],
    ]);
}

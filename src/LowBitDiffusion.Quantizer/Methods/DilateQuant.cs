using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Reconstruction;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>
/// DilateQuant (Liu et al., ACM MM 2025): weights stretched where that costs nothing, so that activations shrink (WD); activation parameters of every timestep, learned side by side in mini-batches of mixed
/// timesteps (TPQ); weights, their steps and all activation parameters of a block learned at once, from what the float block computes (BKD).
/// </summary>
public sealed class DilateQuant : BlockwiseMethod
{
    /// <inheritdoc/>
    public override string Name => "dilatequant";

    /// <inheritdoc/>
    public override string Description => "dilated weights, weights and scales of every timestep learned block by block (Liu et al. 2025)";

    /// <inheritdoc/>
    public override IReadOnlyList<Ingredient> Ingredients =>
    [
        new("wd", "weight dilation; without: weights as they are"),
        new("tpq", "temporal parallel quantizer, parameters of every timestep; without: one set for all timesteps"),
        new("bkd", "block-wise knowledge distillation; without: rounding to nearest, as calibrated"),
    ];

    /// <inheritdoc/>
    public override StartingPoint Start(Func<string, bool> uses) => new(RangeMethod.Grid, SplitInputs.Normalized, PerTimestep: uses("tpq"), Dilated: uses("wd"));

    /// <inheritdoc/>
    public override BlockPreset Preset(Func<string, bool> uses) => new(uses("bkd") ? [new BlockStage("distillation", Distillation, QuantizedInputs: true)] : []) { Choice = SampleChoice.Random };

    // The paper's rates, counted in steps of what they move, so that they mean the same in every layer; zero points count in codes, of which half a one is the least that has an effect.
    private static ReconstructionOptions Distillation => new()
    {
        Iterations = 5_000,
        WeightRate = 1e-2,
        RelativeWeightRate = true,
        WeightStepRate = 1e-4,
        InputStepRate = 1e-4,
        InputZeroPointRate = 1e-3,
        RelativeStepRates = true,
    };
}

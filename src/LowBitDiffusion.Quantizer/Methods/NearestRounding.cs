using LowBitDiffusion.Quantizer.PostTraining;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>The baseline: ranges with the least error, values rounded to nearest, nothing learned.</summary>
public sealed class NearestRounding : IQuantizationMethod
{
    /// <inheritdoc/>
    public string Name => "mse";

    /// <inheritdoc/>
    public string Description => "ranges by an error search, rounding to nearest; learns nothing";

    /// <inheritdoc/>
    public IReadOnlyList<Ingredient> Ingredients => [];

    /// <inheritdoc/>
    public StartingPoint Start(Func<string, bool> uses) => new();

    /// <inheritdoc/>
    public MethodResult Quantize(QuantizationRun run) => new(PostTrainingQuantizer.Quantize(run));
}

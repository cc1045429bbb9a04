namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>A method that is a recipe for <see cref="BlockLearning"/>.</summary>
public abstract class BlockwiseMethod : IQuantizationMethod
{
    /// <inheritdoc/>
    public abstract string Name { get; }

    /// <inheritdoc/>
    public abstract string Description { get; }

    /// <inheritdoc/>
    public abstract IReadOnlyList<Ingredient> Ingredients { get; }

    /// <inheritdoc/>
    public abstract StartingPoint Start(Func<string, bool> uses);

    /// <summary>The paper's recipe.</summary>
    /// <param name="uses">Whether an ingredient is not left out.</param>
    public abstract BlockPreset Preset(Func<string, bool> uses);

    /// <inheritdoc/>
    public MethodResult Quantize(QuantizationRun run) => new BlockLearning(run, Preset(run.Uses)).Run();
}

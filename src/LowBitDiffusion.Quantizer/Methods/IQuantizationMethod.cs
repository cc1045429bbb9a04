using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>A way of finding the integers of a quantized network. It learns with its paper's hyper-parameters, for as many iterations as <see cref="QuantizationRun.Iterations"/> allows.</summary>
public interface IQuantizationMethod
{
    /// <summary>Its name in commands and files: <c>tfmq</c>.</summary>
    string Name { get; }

    /// <summary>One line: what it does, and whose it is.</summary>
    string Description { get; }

    /// <summary>Its parts that can be left out, each by itself, to see what they bring.</summary>
    IReadOnlyList<Ingredient> Ingredients { get; }

    /// <summary>The quantizers that it starts from.</summary>
    /// <param name="uses">Whether an ingredient is not left out.</param>
    StartingPoint Start(Func<string, bool> uses);

    /// <summary>Quantizes a network.</summary>
    /// <param name="run">The float model, what is asked for, and where to keep what a stopped run needs.</param>
    /// <returns>The quantized layers, and how they were learned.</returns>
    /// <exception cref="InvalidRequestException">The request asks for what the model cannot do.</exception>
    /// <exception cref="ModelFormatException">A weight cannot be read or is not finite.</exception>
    /// <exception cref="Reconstruction.TrainingDivergedException">A loss or a learned number is not finite; the state holds the last good one.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled; its state is saved.</exception>
    MethodResult Quantize(QuantizationRun run);
}

/// <summary>A part of a method.</summary>
/// <param name="Name">Its name in commands and files, the paper's own: <c>tiar</c>.</param>
/// <param name="Description">What it is, and what takes its place when it is left out.</param>
public sealed record Ingredient(string Name, string Description);

/// <summary>Quantizers to start from.</summary>
/// <param name="Range">How activation ranges are chosen.</param>
/// <param name="Split">Which concatenated inputs get a quantizer for each half.</param>
/// <param name="PerTimestep">Whether every timestep has scales of its own, or one serves all.</param>
/// <param name="Dilated">Whether input channels of weights are stretched and activations divided accordingly (<see cref="Quantizers.WeightDilation"/>).</param>
public sealed record StartingPoint(
    Quantizers.RangeMethod Range = Quantizers.RangeMethod.Mse, Calibration.SplitInputs Split = Calibration.SplitInputs.Concatenations, bool PerTimestep = true, bool Dilated = false);

/// <summary>What a method made.</summary>
/// <param name="Modules">The quantized layers by name, in the network's order.</param>
/// <param name="Training">How they were learned; null if nothing was.</param>
public sealed record MethodResult(IReadOnlyDictionary<string, QuantizedModule> Modules, TrainingReport? Training = null);

/// <summary>The methods there are.</summary>
public static class QuantizationMethods
{
    /// <summary>All of them, the baseline first.</summary>
    public static IReadOnlyList<IQuantizationMethod> All { get; } = [new NearestRounding(), new QDiffusion(), new Tfmq(), new EfficientDm(), new DilateQuant()];

    /// <summary>The method of a name.</summary>
    /// <exception cref="InvalidRequestException">There is none.</exception>
    public static IQuantizationMethod Of(string name) =>
        All.FirstOrDefault(method => method.Name == name) ?? throw new InvalidRequestException("method", $"expected one of {string.Join(", ", All.Select(method => method.Name))}, found '{name}'");
}

using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>The whole way from a float model folder to a quantized one with its quality report: what <c>lbd quantize</c> does.</summary>
public static class ModelQuantizer
{
    /// <summary>Quantizes a model folder. The output appears whole or not at all; a cancelled run leaves nothing.</summary>
    /// <param name="request">What to quantize and how.</param>
    /// <param name="progress">Told stage and fraction.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <returns>What it cost and saved; the same is in the folder as <c>quality.json</c> and <c>quality.txt</c>.</returns>
    /// <exception cref="InvalidRequestException">The request asks for what the model cannot do.</exception>
    /// <exception cref="ModelFormatException">The model is missing, damaged or not supported.</exception>
    /// <exception cref="OutputException">The output cannot be written.</exception>
    public static QualityReport Run(QuantizationRequest request, IProgress<QuantizationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        using SourceModel model = SourceModel.Open(request.Model, request.Threads);
        PostTrainingOptions options = request.ToOptions(model);
        // Before the work, not after it.
        if (!request.Overwrite && Directory.Exists(request.Output) && Directory.EnumerateFileSystemEntries(request.Output).Any()) throw new OutputException(request.Output, "exists and is not empty");
        // One network's packed weights at a time: the float one is gone before the quantized one is made.
        ObservedNetworkFactory networks = ObservedPlannedNetwork.Factory(model.Network, model.Weights, model.Pool);

        IReadOnlyDictionary<string, QuantizedModule> modules = PostTrainingQuantizer.Quantize(model, networks, options, progress, cancellationToken);
        ObservedNetworkFactory quantized = ObservedPlannedNetwork.Factory(model.Network, model.Weights.With(modules, options.Attention), model.Pool);
        QualityReport report = QualityReporter.Measure(model, modules, networks, quantized, options, PostTrainingQuantizer.Stage(progress, "measuring"), cancellationToken);
        QuantizedModelWriter.Write(model, modules, options, report, request.Output, PostTrainingQuantizer.Stage(progress, "writing"), cancellationToken);
        return report;
    }
}

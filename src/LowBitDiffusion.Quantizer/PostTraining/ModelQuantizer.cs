using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Methods;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>The whole way from a float model folder to a quantized one with its quality report: what <c>lbd quantize</c> does.</summary>
public static class ModelQuantizer
{
    /// <summary>Quantizes a model folder. The output appears whole or not at all; of a cancelled run nothing is left but what it needs to go on (<see cref="SavedRun"/>), if it had learned anything.</summary>
    /// <param name="request">What to quantize and how.</param>
    /// <param name="progress">Told stage and fraction.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <returns>What it cost and saved; the same is in the folder as <c>quality.json</c> and <c>quality.txt</c>.</returns>
    /// <exception cref="InvalidRequestException">The request asks for what the model cannot do.</exception>
    /// <exception cref="ModelFormatException">The model is missing, damaged or not supported.</exception>
    /// <exception cref="OutputException">The output cannot be written, or a stopped run is in its place.</exception>
    /// <exception cref="Reconstruction.TrainingDivergedException">A loss or a learned number is not finite; the last good state is kept.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public static QualityReport Run(QuantizationRequest request, IProgress<QuantizationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        using QuantizationRun run = QuantizationRun.Open(request, progress, cancellationToken);
        (IReadOnlyDictionary<string, QuantizedModule> modules, TrainingReport? training) = run.Method.Quantize(run);
        ObservedNetworkFactory quantized = ObservedPlannedNetwork.Factory(run.Model.Network, run.Model.Weights.With(modules, request.Attention), run.Pool);
        QualityReport report = QualityReporter.Measure(run, modules, quantized);
        QuantizedModelWriter.Write(run, modules, report, training);
        run.Complete();
        return report;
    }
}

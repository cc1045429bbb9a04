using System.Text.Json;
using LowBitDiffusion.Execution;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Correction;

/// <summary>
/// Collects the correction of a quantized model's predictions (PTQD: He et al., NeurIPS 2023) and writes it into its folder: what <c>lbd correct</c> does. The float model draws; at every step
/// both networks predict from the same sample, and what the sampler would see of either, after guidance, is compared.
/// </summary>
public static class PredictionCorrector
{
    /// <summary>Collects and writes a correction, in place of one that is there. A cancelled run leaves the folder as it was.</summary>
    /// <param name="request">Which model, and how it is drawn.</param>
    /// <param name="progress">Told the fraction done.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <exception cref="InvalidRequestException">The model is not quantized, the reference is, they are different networks, or the request asks for what they cannot do.</exception>
    /// <exception cref="ModelFormatException">A model is missing, damaged or not supported, or predicts values that are not finite.</exception>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public static CorrectionReport Run(CorrectionRequest request, IProgress<double>? progress = null, CancellationToken cancellationToken = default)
    {
        if (request.Images < 1) throw new InvalidRequestException("images", $"expected at least one image, found {request.Images}");
        using SourceModel model = SourceModel.Open(request.Model, request.Threads), reference = SourceModel.Open(request.Reference, request.Threads);
        if (model.Quantization is null) throw new InvalidRequestException("model", $"{request.Model} is not quantized, expected a folder that lbd quantize wrote");
        if (reference.Quantization is not null) throw new InvalidRequestException("reference", $"{request.Reference} is quantized ({reference.Quantization.Method}), expected the float model");
        if (!model.IsDenoiser || !reference.IsDenoiser) throw new InvalidRequestException("model", $"expected whole models' folders, found a network's alone, {(model.IsDenoiser ? request.Reference : request.Model)}");
        SamplingSettings standard = SamplingSettings.For(model), settings = new(request.Steps ?? standard.Steps, request.GuidanceScale ?? standard.GuidanceScale) { Eta = request.Eta };
        (TensorShape shape, TensorShape expected) = (model.Network.NativeInputs(batch: 1)["sample"], reference.Network.NativeInputs(batch: 1)["sample"]);
        if (model.Network.ClassName != reference.Network.ClassName || !shape.Equals(expected))
            throw new InvalidRequestException("reference", $"{request.Reference} is a {reference.Network.ClassName} of {expected}, {request.Model} a {model.Network.ClassName} of {shape}; expected the float model it was made from");
        PictureCounts counts = PictureCounts.For(reference.Description!);
        int asked = request.Images ?? counts.Calibration;
        GuidedSampler sampler = new(reference, settings, Math.Min(request.Batch ?? counts.CalibrationBatch, asked), cancellationToken: cancellationToken);
        int images = (asked + sampler.Images - 1) / sampler.Images * sampler.Images;

        CorrectionStatistics[] statistics = Collect(request, model, reference, sampler, images / sampler.Images, progress, cancellationToken);
        int[] order = [.. Enumerable.Range(0, statistics.Length).OrderBy(call => sampler.Timesteps[call])];
        (double Slope, double[] Bias, double Deviation)[] fits = [.. order.Select(call => statistics[call].Fit())];
        PredictionCorrection correction = new(
            [.. order.Select(call => sampler.Timesteps[call])], [.. fits.Select(fit => fit.Slope)], [.. fits.SelectMany(fit => fit.Bias)], [.. fits.Select(fit => fit.Deviation)], sampler.ImageShape.Channels, sampler.Guided ? settings.GuidanceScale : 1);
        cancellationToken.ThrowIfCancellationRequested();
        PredictionCorrectionFile.Write(model.Folder!.ComponentPath(model.Component), correction, Describe(request, model, settings, images));
        return new CorrectionReport(correction, [.. order.Select((call, i) => (sampler.Timesteps[call], statistics[call].MeanSquaredError, fits[i].Deviation * fits[i].Deviation))]);
    }

    /// <summary>Removes a model's correction.</summary>
    /// <returns>Whether there was one.</returns>
    /// <exception cref="ModelFormatException">The model is missing or damaged.</exception>
    /// <exception cref="OutputException">The file cannot be removed.</exception>
    public static bool Remove(string folder)
    {
        ModelFolder model = ModelFolder.Open(folder);
        string[] files = [.. model.Components.Keys.Select(component => Path.Combine(model.ComponentPath(component), PredictionCorrectionFile.Name)).Where(File.Exists)];
        foreach (string file in files)
        {
            try
            {
                File.Delete(file);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new OutputException(file, $"cannot be removed: {e.Message}", e);
            }
        }

        return files.Length > 0;
    }

    private static CorrectionStatistics[] Collect(CorrectionRequest request, SourceModel model, SourceModel reference, GuidedSampler sampler, int batches, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        int calls = sampler.Timesteps.Count, length = (int)sampler.ImageShape.Elements;
        if (sampler.Timesteps.Distinct().Count() != calls) throw new InvalidRequestException("scheduler", $"it calls the network more than once at a timestep, a correction needs one call for each");
        CorrectionStatistics[] statistics = [.. sampler.Timesteps.Select(_ => new CorrectionStatistics(sampler.ImageShape.Channels))];
        using PreparedModel prepared = new(model.Network, model.Weights), preparedReference = new(reference.Network, reference.Weights);
        using PlannedNetwork quantized = prepared.Compile(sampler.InputShapes, model.Pool, cancellationToken: cancellationToken), expected = preparedReference.Compile(sampler.InputShapes, reference.Pool, cancellationToken: cancellationToken);
        if (quantized.PredictionLength != expected.PredictionLength) throw new InvalidRequestException("reference", $"it predicts {expected.PredictionLength} values, the model {quantized.PredictionLength}; expected the float model it was made from");
        float[] other = new float[expected.PredictionLength];
        for (int batch = 0; batch < batches; batch++)
        {
            IReadOnlyDictionary<string, float[]> conditions = sampler.Conditions(batch * sampler.Images);
            expected.Prepare([.. sampler.Timesteps], conditions, cancellationToken);
            quantized.Prepare([.. sampler.Timesteps], conditions, cancellationToken);
            int done = batch;
            sampler.Draw(Predict, expected.PredictionLength, Calibrator.SeedsOf(request.Seed, batch * sampler.Images, sampler.Images), cancellationToken: cancellationToken);

            void Predict(int call, ReadOnlySpan<float> sample, Span<float> prediction)
            {
                expected.Predict(call, sample, prediction, cancellationToken);
                quantized.Predict(call, sample, other, cancellationToken);
                statistics[call].Add(sampler.Guide(prediction), sampler.Guide(other), sampler.Images, length);
                if (!double.IsFinite(statistics[call].MeanSquaredError)) throw new ModelFormatException(request.Model, null, $"a network predicts values that are not finite at timestep {sampler.Timesteps[call]}");
                progress?.Report((done + (call + 1.0) / calls) / batches);
            }
        }

        return statistics;
    }

    private static JsonElement Describe(CorrectionRequest request, SourceModel model, SamplingSettings settings, int images) => JsonSerializer.SerializeToElement(new
    {
        sampler = model.Pipeline!.Scheduler.ClassName,
        steps = settings.Steps,
        eta = settings.Eta,
        images,
        seed = request.Seed,
    });
}

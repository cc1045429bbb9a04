using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>Data-free post-training quantization: activation ranges from the model's own trajectories, weight ranges from the weights, nothing is trained.</summary>
public static class PostTrainingQuantizer
{
    /// <summary>Calibrates and quantizes a network.</summary>
    /// <param name="model">The float model.</param>
    /// <param name="networks">Executes its network.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told stage and fraction.</param>
    /// <param name="cancellationToken">Checked between layers.</param>
    /// <returns>The quantized layers by name, in the network's order; their codes are made from the model's weights when asked for, so the model must stay open.</returns>
    /// <exception cref="InvalidRequestException">The options ask for what the model cannot do, or it is quantized already.</exception>
    /// <exception cref="ModelFormatException">A weight cannot be read or is not finite.</exception>
    public static IReadOnlyDictionary<string, QuantizedModule> Quantize(
        SourceModel model, ObservedNetworkFactory networks, PostTrainingOptions options, IProgress<QuantizationProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        if (model.Quantization is { } quantization) throw new InvalidRequestException("model", $"{model.Folder.Path} is quantized already ({quantization.Method}), expected a float model");
        IReadOnlyList<ModuleInputs> layers = ModuleInputs.Of(model.Network.Build(model.Network.NativeInputs(batch: 1)), options.Calibration.Split);
        options.Rules.CheckUsed([.. layers.Select(layer => layer.Op.Module)]);
        ActivationStatistics statistics = Calibrator.Run(
            model, networks, module => !options.Rules.Of(module).IsFloat, options.Calibration, Stage(progress, "calibrating"), cancellationToken);
        return QuantizeLayers(model, layers, statistics, options, Stage(progress, "quantizing"), cancellationToken);
    }

    /// <summary>Quantizes a network whose activation ranges are known.</summary>
    internal static IReadOnlyDictionary<string, QuantizedModule> QuantizeLayers(
        SourceModel model, IReadOnlyList<ModuleInputs> layers, ActivationStatistics statistics, PostTrainingOptions options, IProgress<double>? progress, CancellationToken cancellationToken)
    {
        Dictionary<string, QuantizedModule> modules = [];
        // Layers that read one value share its table, so that the executor sees at once that it is quantized once for all of them.
        Dictionary<(ActivationRange, int), TimestepTable> tables = [];
        for (int i = 0; i < layers.Count; i++)
        {
            MatrixOp op = layers[i].Op;
            Precision precision = options.Rules.Of(op.Module);
            if (!precision.IsFloat)
            {
                ActivationRange range = statistics.Modules[op.Module];
                if (!tables.TryGetValue((range, precision.ActivationBits), out TimestepTable? table)) tables.Add((range, precision.ActivationBits), table = range.ToTable(precision.ActivationBits));
                modules.Add(op.Module, QuantizeLayer(model, op, precision, table, range.SplitChannel, options, cancellationToken));
            }

            progress?.Report((i + 1.0) / layers.Count);
        }

        return modules;
    }

    /// <summary>Progress of one stage as a fraction.</summary>
    internal static IProgress<double>? Stage(IProgress<QuantizationProgress>? progress, string stage) => progress is null ? null : new StageProgress(progress, stage);

    private static QuantizedModule QuantizeLayer(
        SourceModel model, MatrixOp op, Precision precision, TimestepTable table, int splitChannel, PostTrainingOptions options, CancellationToken cancellationToken)
    {
        Parameter weight = new($"{op.Module}.weight", op.WeightShape);
        int taps = op.WeightShape.Rank == 4 ? op.WeightShape[2] * op.WeightShape[3] : 1;
        int group = options.GroupChannels > 0 && op.WeightShape[1] % options.GroupChannels == 0 && options.GroupChannels < op.WeightShape[1] ? options.GroupChannels * taps : 0;
        WeightQuantizerOptions settings = new(precision.WeightBits, options.WeightRange, options.SymmetricWeights || precision.WeightBits == 8, group, splitChannel);
        try
        {
            (float[] scales, byte[]? zeroPoints) = WeightQuantizer.Search(model.Weights.Float(weight), op.WeightShape, settings, cancellationToken);
            return new QuantizedModule
            {
                Name = op.Module,
                WeightShape = op.WeightShape,
                WeightBits = precision.WeightBits,
                // Rounded when they are packed or written: a large model's codes are never in memory all at once.
                CodesReader = () => WeightQuantizer.Round(model.Weights.Float(weight), op.WeightShape, settings, scales, zeroPoints),
                WeightScales = scales,
                WeightZeroPoints = zeroPoints,
                GroupSize = group,
                Input = table,
                SplitChannel = splitChannel,
                Bias = op.HasBias ? model.Weights.Float(new Parameter($"{op.Module}.bias", new TensorShape(op.WeightShape[0]))) : null,
            };
        }
        catch (ArgumentException e)
        {
            throw new ModelFormatException(model.Weights.Origin, $"{op.Module}.weight", e.Message, e);
        }
    }

    private sealed class StageProgress(IProgress<QuantizationProgress> progress, string stage) : IProgress<double>
    {
        public void Report(double value) => progress.Report(new QuantizationProgress(stage, value));
    }
}

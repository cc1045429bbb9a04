using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>
/// Quantizers by looking alone: activation ranges from what a source shows the network (a denoiser: trajectories of its own), weight ranges from the weights, everything rounded to nearest. The baseline, and what methods that learn start from.
/// </summary>
public static class PostTrainingQuantizer
{
    /// <summary>Calibrates and quantizes a network.</summary>
    /// <param name="run">The model and what is asked for.</param>
    /// <returns>The quantized layers by name, in the network's order; their codes are made from the model's weights when asked for, so the model must stay open.</returns>
    /// <exception cref="InvalidRequestException">The request asks for what the model cannot do.</exception>
    /// <exception cref="ModelFormatException">A weight cannot be read or is not finite.</exception>
    public static IReadOnlyDictionary<string, QuantizedModule> Quantize(QuantizationRun run)
    {
        IReadOnlyDictionary<string, float[]> divisors = run.Start.Dilated ? Dilation(run) : new Dictionary<string, float[]>();
        IReadOnlyDictionary<string, TimestepTable> tables = Tables(run, run.Networks, divisors);
        IProgress<double>? progress = run.Stage("quantizing");
        Dictionary<string, QuantizedModule> modules = [];
        for (int i = 0; i < run.Layers.Count; i++)
        {
            ModuleInputs layer = run.Layers[i];
            if (tables.TryGetValue(layer.Op.Module, out TimestepTable? table)) modules.Add(layer.Op.Module, QuantizeLayer(run, layer, table, divisors.GetValueOrDefault(layer.Op.Module)));
            progress?.Report((i + 1.0) / run.Layers.Count);
        }

        return modules;
    }

    /// <summary>Input quantizers of every quantized layer, from calibration. Layers that read one value share one, so that the executor sees at once that it is quantized once for all of them.</summary>
    /// <param name="run">The model and what is asked for.</param>
    /// <param name="networks">Executes the network that is looked at: the float one, or one with other weights.</param>
    /// <param name="divisors">Divisors of input channels by layer, or null.</param>
    public static IReadOnlyDictionary<string, TimestepTable> Tables(QuantizationRun run, ObservedNetworkFactory networks, IReadOnlyDictionary<string, float[]>? divisors = null)
    {
        ActivationStatistics statistics = Calibrator.Run(run.Source, networks, run.Model.Path, run.IsQuantized, run.Calibration, divisors, run.Stage("calibrating"), run.CancellationToken);
        Dictionary<(ActivationRange, int), TimestepTable> known = [];
        Dictionary<string, TimestepTable> tables = [];
        foreach ((string module, ActivationRange range) in statistics.Modules)
        {
            run.CancellationToken.ThrowIfCancellationRequested();
            int bits = run.Rules.Of(module).ActivationBits;
            if (!known.TryGetValue((range, bits), out TimestepTable? table)) known.Add((range, bits), table = range.ToTable(bits));
            tables.Add(module, table);
        }

        return tables;
    }

    /// <summary>Divisors of the input channels of every quantized layer. Layers that read one value share them, and so its quantizer: each channel takes the least stretch that any of them allows.</summary>
    private static Dictionary<string, float[]> Dilation(QuantizationRun run)
    {
        Dictionary<string, float[]> divisors = [];
        foreach (IReadOnlyList<ModuleInputs> readers in ModuleInputs.ByValue(run.Layers.Where(layer => run.IsQuantized(layer.Op.Module))))
        {
            float[][] scales = [.. readers.Select(layer => WeightDilation.Scales(run.Weight(layer.Op), layer.Op.WeightShape[1], Taps(layer.Op)))];
            float[] least = [.. Enumerable.Range(0, scales[0].Length).Select(channel => scales.Min(one => one[channel]))];
            foreach (ModuleInputs layer in readers) divisors.Add(layer.Op.Module, least);
        }

        return divisors;
    }

    private static QuantizedModule QuantizeLayer(QuantizationRun run, ModuleInputs layer, TimestepTable table, float[]? divisors)
    {
        (MatrixOp op, int splitChannel) = (layer.Op, layer.SplitChannel);
        Precision precision = run.Rules.Of(op.Module);
        int taps = Taps(op), channels = run.Request.GroupChannels;
        int group = channels > 0 && op.WeightShape[1] % channels == 0 && channels < op.WeightShape[1] ? channels * taps : 0;
        WeightQuantizerOptions settings = new(precision.WeightBits, run.Request.WeightRange, run.Request.SymmetricWeights || precision.WeightBits == 8, group, splitChannel);
        try
        {
            (float[] scales, byte[]? zeroPoints) = WeightQuantizer.Search(Weight(), op.WeightShape, settings, run.CancellationToken);
            return new QuantizedModule
            {
                Name = op.Module,
                WeightShape = op.WeightShape,
                WeightBits = precision.WeightBits,
                // Rounded when they are packed or written: a large model's codes are never in memory all at once.
                CodesReader = codes => WeightQuantizer.Round(Weight(), op.WeightShape, settings, scales, zeroPoints).CopyTo(codes),
                WeightScales = scales,
                WeightZeroPoints = zeroPoints,
                GroupSize = group,
                Input = table,
                SplitChannel = splitChannel,
                InputChannelScales = divisors,
                Bias = op.HasBias ? run.Model.Weights.Float(new Parameter($"{op.Module}.bias", new TensorShape(op.WeightShape[0]))) : null,
            };
        }
        catch (ArgumentException e)
        {
            throw new ModelFormatException(run.Model.Weights.Origin, $"{op.Module}.weight", e.Message, e);
        }

        float[] Weight() => divisors is null ? run.Weight(op) : WeightDilation.Dilate(run.Weight(op), divisors, taps);
    }

    private static int Taps(MatrixOp op) => op.WeightShape.Rank == 4 ? op.WeightShape[2] * op.WeightShape[3] : 1;
}

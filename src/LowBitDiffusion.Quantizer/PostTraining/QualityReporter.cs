using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Calibration;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.Metrics;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.PostTraining;

/// <summary>Measures a quantized network against the float one it was made from.</summary>
public static class QualityReporter
{
    // Of the time of both networks' passes: the float network is slower, and watched.
    private const double FloatShare = 0.75;

    /// <summary>Measures weights, sizes and, if pictures are asked for, activations and what comes out.</summary>
    /// <param name="run">The float model, and how it was quantized.</param>
    /// <param name="modules">Its quantized layers.</param>
    /// <param name="quantizedNetworks">Executes the quantized network.</param>
    public static QualityReport Measure(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules, ObservedNetworkFactory quantizedNetworks)
    {
        ActivationQuality activations = new(modules);
        (ComparisonPoint Point, double? Psnr, double Range)[] points = [];
        int images = 0, wanted = run.ReportImages;
        if (wanted > 0)
        {
            ICalibrationSource source = run.Source(Math.Min(run.Calibration.Batch, wanted));
            images = (wanted + source.Items - 1) / source.Items * source.Items;
            points = Compare(run, source, images, activations, quantizedNetworks);
        }

        SourceModel model = run.Model;
        Graph graph = model.Graph;
        bool timeless = !graph.Inputs.ContainsKey("timestep");
        OutputQuality[] outputs = [.. points.Where(one => one.Point.Output is not null).Select(one => new OutputQuality(one.Point.Output!, one.Psnr, one.Range))];
        return new QualityReport
        {
            Modules = [.. graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module).Select(op => Describe(model, op, modules.GetValueOrDefault(op.Module), activations, timeless))],
            Sizes = Sizes(graph, modules, run.Request.FloatType),
            FloatBytes = graph.Parameters.Sum(parameter => parameter.Shape.Elements) * sizeof(float),
            Outputs = outputs.Length > 0 ? outputs : null,
            Trajectory = [.. points.Where(one => one.Point.Output is null).Select(one => new TrajectoryPoint(one.Point.Timestep, one.Psnr, one.Range))],
            Images = images,
            Latents = model.IsDenoiser && model.Description!.DrawsLatents,
        };
    }

    private static (ComparisonPoint Point, double? Psnr, double Range)[] Compare(QuantizationRun run, ICalibrationSource source, int images, ActivationQuality activations, ObservedNetworkFactory quantizedNetworks)
    {
        CalibrationOptions calibration = run.Calibration;
        CancellationToken cancellationToken = run.CancellationToken;
        IProgress<double>? progress = run.Stage("measuring");
        int calls = source.Timesteps.Count, batches = images / source.Items;
        SignalQuality[] qualities = [.. source.Points.Select(_ => new SignalQuality())];
        ValueRange[] ranges = new ValueRange[qualities.Length];
        float[,][] expected = new float[batches, qualities.Length][];

        // All passes of the float network, then all of the quantized one: never both in memory.
        using (IObservedNetwork reference = run.Networks(source.InputShapes, graph => activations.Watch(graph, calibration.Split), cancellationToken))
        {
            for (int batch = 0; batch < batches; batch++)
            {
                int number = batch;
                source.Pass(First(batch), Run, (point, values) => expected[number, point] = values.ToArray(), cancellationToken);

                IReadOnlyDictionary<string, float[]> Run(int call, IReadOnlyDictionary<string, float[]> inputs)
                {
                    float timestep = source.Timesteps[call];
                    reference.Observer = (node, rows) => activations.Observe(node, rows, timestep);
                    IReadOnlyDictionary<string, float[]> outputs = reference.Run(inputs, cancellationToken);
                    progress?.Report(FloatShare * (number + (call + 1.0) / calls) / batches);
                    return outputs;
                }
            }
        }

        using IObservedNetwork quantized = quantizedNetworks(source.InputShapes, cancellationToken: cancellationToken);
        for (int batch = 0; batch < batches; batch++)
        {
            int number = batch;
            source.Pass(First(batch), (_, inputs) => quantized.Run(inputs, cancellationToken), Add, cancellationToken);

            void Add(int point, ReadOnlySpan<float> values)
            {
                qualities[point].Add(expected[number, point], values);
                ranges[point] = ranges[point].Union(ValueRange.Of(expected[number, point]));
                progress?.Report(FloatShare + (1 - FloatShare) * (number + (point + 1.0) / qualities.Length) / batches);
            }
        }

        return [.. source.Points.Select((point, i) =>
        {
            double range = point.Range ?? (double)ranges[i].Max - ranges[i].Min, psnr = qualities[i].Psnr(range);
            return (point, Finite(psnr), range);
        })];

        // Behind the seeds of calibration.
        int First(int batch) => calibration.Images + calibration.Batch + batch * source.Items;
    }

    private static ModuleQuality Describe(SourceModel model, MatrixOp op, QuantizedModule? module, ActivationQuality activations, bool timeless)
    {
        long floatBytes = op.Parameters.Sum(parameter => parameter.Shape.Elements) * sizeof(float);
        if (module is null) return new ModuleQuality(op.Module, Precision.Float.ToString(), [.. op.WeightShape], null, null, null, null, floatBytes, floatBytes);
        float[] weight = model.Weights.Float(new Parameter($"{op.Module}.weight", op.WeightShape));
        double weightSqnr = new SignalQuality().Add(weight, Dequantize(module)).Sqnr;
        (double? mean, double? worst, float? timestep) = activations.Of(module);
        if (timeless) (worst, timestep) = (null, null);
        long bytes = LowBitCodec.Describe(module).Sum(info => info.ByteLength);
        return new ModuleQuality(op.Module, new Precision(module.WeightBits, module.Input.Bits).ToString(), [.. op.WeightShape], Finite(weightSqnr), mean, worst, timestep, bytes, floatBytes);
    }

    private static float[] Dequantize(QuantizedModule module)
    {
        sbyte[] codes = module.Codes;
        float[] weight = new float[codes.Length];
        int columns = module.WeightScales.Length / module.OutChannels;
        foreach (ChannelSegment segment in module.Segments)
        {
            for (int o = 0; o < module.OutChannels; o++)
            {
                int start = o * module.Depth + segment.Start * module.Taps, end = start + segment.Count * module.Taps;
                for (int i = start; i < end; i++) weight[i] = module.WeightScales[o * columns + segment.Group] * codes[i] / (module.InputChannelScales?[i % module.Depth / module.Taps] ?? 1);
            }
        }

        return weight;
    }

    private static IReadOnlyList<ComponentSize> Sizes(Graph graph, IReadOnlyDictionary<string, QuantizedModule> modules, DType floatType)
    {
        IEnumerable<TensorInfo> infos = modules.Values.SelectMany(LowBitCodec.Describe);
        HashSet<string> quantized = [.. graph.MatrixNodes.Select(node => (MatrixOp)node.Op).Where(op => modules.ContainsKey(op.Module)).SelectMany(op => op.Parameters).Select(parameter => parameter.Name)];
        long floats = graph.Parameters.Where(parameter => !quantized.Contains(parameter.Name)).Sum(parameter => parameter.Shape.Elements) * (floatType == DType.F32 ? sizeof(float) : sizeof(ushort));
        return
        [
            .. infos.GroupBy(info => Kind(info.Name)).Select(kind => new ComponentSize(kind.Key, kind.Sum(info => info.ByteLength))),
            new ComponentSize("float tensors", floats),
        ];

        static string Kind(string name) => name[(name.LastIndexOf('.') + 1)..] switch
        {
            "weight" or "weight_packed" => "weight codes",
            "weight_scale" or "weight_zero_point" => "weight scales",
            "bias" => "biases",
            _ => "activation tables",
        };
    }

    // JSON has no infinity; without noise there is nothing to report.
    private static double? Finite(double decibels) => double.IsFinite(decibels) ? decibels : null;
}

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
    // Of the time of both networks' trajectories: the float network is slower, and watched.
    private const double FloatShare = 0.75;

    /// <summary>Measures weights, sizes and, if pictures are asked for, activations and trajectories.</summary>
    /// <param name="run">The float model, and how it was quantized.</param>
    /// <param name="modules">Its quantized layers.</param>
    /// <param name="quantizedNetworks">Executes the quantized network.</param>
    public static QualityReport Measure(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules, ObservedNetworkFactory quantizedNetworks)
    {
        ActivationQuality activations = new(modules);
        List<TrajectoryPoint> trajectory = [];
        int images = 0;
        int wanted = run.ReportImages;
        if (wanted > 0)
        {
            GuidedSampler sampler = new(run.Model, run.Calibration.Sampling, Math.Min(run.Calibration.Batch, wanted), run.Stage("encoding"), run.CancellationToken);
            images = (wanted + sampler.Images - 1) / sampler.Images * sampler.Images;
            trajectory = Trajectories(run, sampler, images, activations, quantizedNetworks);
        }

        SourceModel model = run.Model;
        Graph graph = model.Network.Build(model.Network.NativeInputs(batch: 1));
        return new QualityReport
        {
            Modules = [.. graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module).Select(op => Describe(model, op, modules.GetValueOrDefault(op.Module), activations))],
            Sizes = Sizes(graph, modules, run.Request.FloatType),
            FloatBytes = graph.Parameters.Sum(parameter => parameter.Shape.Elements) * sizeof(float),
            Trajectory = trajectory,
            Images = images,
            Latents = model.Description.DrawsLatents,
        };
    }

    private static List<TrajectoryPoint> Trajectories(QuantizationRun run, GuidedSampler sampler, int images, ActivationQuality activations, ObservedNetworkFactory quantizedNetworks)
    {
        CalibrationOptions calibration = run.Calibration;
        CancellationToken cancellationToken = run.CancellationToken;
        IProgress<double>? progress = run.Stage("measuring");
        int calls = sampler.Timesteps.Count, batches = images / sampler.Images;
        SignalQuality[] points = [.. sampler.Timesteps.Select(_ => new SignalQuality())];
        ValueRange[] ranges = new ValueRange[calls];
        float[,][] samples = new float[batches, calls][];

        // All trajectories of the float network, then all of the quantized one: never both in memory.
        using (IObservedNetwork reference = run.Networks(sampler.InputShapes, graph => activations.Watch(graph, calibration.Split), cancellationToken))
        {
            for (int batch = 0; batch < batches; batch++)
            {
                (int number, int first) = (batch, First(batch));
                IReadOnlyDictionary<string, float[]> conditions = sampler.Conditions(first);
                sampler.Draw(Predict, reference.PredictionLength, Seeds(first), (call, sample) => samples[number, call] = sample.ToArray(), cancellationToken);

                void Predict(int call, ReadOnlySpan<float> sample, Span<float> prediction)
                {
                    float timestep = sampler.Timesteps[call];
                    reference.Observer = (node, rows) => activations.Observe(node, rows, timestep);
                    reference.Prepare([timestep], conditions, cancellationToken);
                    reference.Predict(0, sample, prediction, cancellationToken);
                    progress?.Report(FloatShare * (number + (call + 1.0) / calls) / batches);
                }
            }
        }

        using IObservedNetwork quantized = quantizedNetworks(sampler.InputShapes, cancellationToken: cancellationToken);
        for (int batch = 0; batch < batches; batch++)
        {
            int number = batch;
            sampler.Draw(quantized, First(batch), Seeds(First(batch)), Compare, cancellationToken);

            void Compare(int call, ReadOnlySpan<float> sample)
            {
                points[call].Add(samples[number, call], sample);
                ranges[call] = ranges[call].Union(ValueRange.Of(samples[number, call]));
                progress?.Report(FloatShare + (1 - FloatShare) * (number + (call + 1.0) / calls) / batches);
            }
        }

        return [.. points.Select((point, call) => TrajectoryPoint.Of(sampler.Timesteps[call], point, ranges[call], run.Model.Description.DrawsLatents))];

        // Behind the seeds of calibration.
        int First(int batch) => calibration.Images + calibration.Batch + batch * sampler.Images;

        ulong[] Seeds(int first) => Calibrator.SeedsOf(calibration.Seed, first, sampler.Images);
    }

    private static ModuleQuality Describe(SourceModel model, MatrixOp op, QuantizedModule? module, ActivationQuality activations)
    {
        long floatBytes = op.Parameters.Sum(parameter => parameter.Shape.Elements) * sizeof(float);
        if (module is null) return new ModuleQuality(op.Module, Precision.Float.ToString(), [.. op.WeightShape], null, null, null, null, floatBytes, floatBytes);
        float[] weight = model.Weights.Float(new Parameter($"{op.Module}.weight", op.WeightShape));
        double weightSqnr = new SignalQuality().Add(weight, Dequantize(module)).Sqnr;
        (double? mean, double? worst, float? timestep) = activations.Of(module);
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

using System.Diagnostics;
using System.Globalization;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Distillation;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Sampling;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>
/// EfficientDM (He et al. 2024): the whole network is distilled along the float network's trajectories. Low-rank adapters change the weights before they are quantized and are gone once the codes are;
/// every timestep learns activation scales of its own. An autoencoder and a text encoder are distilled on what they are shown, towards their own outputs.
/// </summary>
public sealed class EfficientDm : IQuantizationMethod
{
    private const string Adapters = "adapters", ScaleAware = "scale-aware", Talsq = "talsq";
    private const int Rank = 32;
    private const double AdapterRate = 0.02, HighestInputStepRate = 2e-2, HighestInputZeroPointRate = 5e-2;

    /// <inheritdoc/>
    public string Name => "efficientdm";

    /// <inheritdoc/>
    public string Description => "distils the network along its own trajectories with low-rank adapters and activation scales by timestep (He et al. 2024)";

    /// <inheritdoc/>
    public IReadOnlyList<Ingredient> Ingredients =>
    [
        new(Adapters, "low-rank changes of the weights; without them steps alone are learned"),
        new(ScaleAware, "adapters learn at a rate in proportion to their layer's steps; without it all at the mean of these rates"),
        new(Talsq, "activation scales for every timestep; without it one scale for all"),
    ];

    /// <inheritdoc/>
    public StartingPoint Start(Func<string, bool> uses) => new(RangeMethod.Grid, PerTimestep: uses(Talsq));

    /// <inheritdoc/>
    public MethodResult Quantize(QuantizationRun run)
    {
        IReadOnlyDictionary<string, QuantizedModule> start = PostTrainingQuantizer.Quantize(run);
        SamplingSettings sampling = run.Calibration.Sampling with { Eta = 1, Steps = run.Request.TrainingSteps ?? run.Calibration.Sampling.Steps };
        DistillationOptions paper = new() { Sampling = sampling, ScaleAware = run.Uses(ScaleAware), Seed = run.Request.Seed };
        float[] learned = Timesteps(run, sampling), asked = Timesteps(run, run.Calibration.Sampling);
        IReadOnlyDictionary<string, QuantizedModule> initial = TimestepRegridding.To(start, learned);
        int iterations = run.Iterations(DistillationOptions.PaperIterations, () =>
        {
            // The clock runs on a student of its own, which is thrown away.
            double seconds = new TrajectoryDistillation(run, Student(run, initial), paper).SecondsPerUpdate(Math.Min(10, run.Request.Budget?.TotalSeconds / 10 ?? 10), run.CancellationToken);
            return (seconds, seconds * learned.Length);
        });
        DistillationOptions options = Scaled(paper, Math.Max(1, iterations / learned.Length), learned.Length);

        TrainingModel student = Student(run, initial);
        IReadOnlyList<DistilledStep> steps = new TrajectoryDistillation(run, student, options).Run(run.Saved.PathOf("distillation.safetensors"), new Progress(run), run.CancellationToken);
        IReadOnlyDictionary<string, QuantizedModule> modules = TimestepRegridding.To(student.Export(run.Model.Graph), asked);
        return new MethodResult(start.ToDictionary(module => module.Key, module => run.Rules.IsStandard(module.Key) ? modules[module.Key] : module.Value), Report(run, options, steps));
    }

    /// <summary>
    /// The paper's rates fit its 16,000 updates, in each of which Adam moves by the rate, whatever the gradient. Fewer updates get rates with which they come as far, up to the highest at which tiny and
    /// small networks were seen to learn. Adapters have one rate, falling to zero: under the logarithm of the loss all timesteps pull alike, and fifty times the paper's rate was best. Steps of inputs move in proportion to themselves: those of 8 bits are a sixteenth of those of 4 bits, for which the paper gives its rate.
    /// </summary>
    private static DistillationOptions Scaled(DistillationOptions paper, int epochs, int calls)
    {
        double factor = Math.Max(1, DistillationOptions.PaperIterations / ((double)epochs * calls));
        return paper with
        {
            Epochs = epochs,
            AdapterRate = AdapterRate,
            InputStepRate = Math.Min(factor * paper.InputStepRate, HighestInputStepRate),
            InputZeroPointRate = Math.Min(factor * paper.InputZeroPointRate, HighestInputZeroPointRate),
            RelativeStepRates = true,
        };
    }

    /// <summary>
    /// The network as it is learned: layers of the standard precision get an adapter; those that a rule names (first and last layer, time projections: 8 bits) keep their codes. Layers that share a table share
    /// the learned one, so that they still read one quantized value when they run.
    /// </summary>
    internal static TrainingModel Student(QuantizationRun run, IReadOnlyDictionary<string, QuantizedModule> modules)
    {
        TrainingModel student = new(run.Model.Weights);
        Dictionary<(TimestepTable, int), FakeQuantizedInput> inputs = [];
        foreach ((string name, QuantizedModule module) in modules)
        {
            FakeQuantizedLayer layer = FakeQuantizedLayer.Frozen(module);
            if (run.Rules.IsStandard(name))
            {
                layer = FakeQuantizedLayer.Learned(module, run.Model.Weights.Float(new Parameter($"{name}.weight", module.WeightShape)), run.Uses(Adapters) ? Rank : 0, run.Request.Seed);
                if (!inputs.TryAdd((module.Input, module.SplitChannel), layer.Input!)) layer = new FakeQuantizedLayer(layer.Weight, inputs[(module.Input, module.SplitChannel)]);
            }

            student.Layers.Add(name, layer);
        }

        return student;
    }

    private static float[] Timesteps(QuantizationRun run, SamplingSettings sampling) => [.. run.Source(sampling, 1, _ => 0).Timesteps.Distinct().Order()];

    private static TrainingReport Report(QuantizationRun run, DistillationOptions options, IReadOnlyList<DistilledStep> steps)
    {
        using Process process = Process.GetCurrentProcess();
        Dictionary<string, double> trajectories = new() { ["steps"] = options.Sampling.Steps, ["guidance_scale"] = options.Sampling.GuidanceScale, ["eta"] = options.Sampling.Eta };
        return new TrainingReport
        {
            Method = run.Method.Name,
            Without = run.Request.Without,
            Settings = new Dictionary<string, double>(run.Model.IsDenoiser ? trajectories : [])
            {
                ["epochs"] = options.Epochs,
                ["images"] = options.Images,
                ["rank"] = run.Uses(Adapters) ? Rank : 0,
                ["adapter_rate"] = options.AdapterRate,
                ["weight_step_rate"] = options.WeightStepRate,
                [options.RelativeStepRates ? "relative_input_step_rate" : "input_step_rate"] = options.InputStepRate,
                ["input_zero_point_rate"] = options.InputZeroPointRate,
                ["weight_decay"] = options.WeightDecay,
            },
            Parts = [.. steps.Select(step => new LearnedPart(run.Model.IsDenoiser ? string.Create(CultureInfo.InvariantCulture, $"timestep {step.Timestep}") : "outputs", run.Model.IsDenoiser ? "Timestep" : "Network", Finite(step.SqnrBefore), Finite(step.SqnrAfter), step.Losses.Count, step.Losses))],
            Seconds = run.Saved.Seconds,
            PeakBytes = process.PeakWorkingSet64,
        };
    }

    private static double? Finite(double decibels) => double.IsFinite(decibels) ? decibels : null;

    private sealed class Progress(QuantizationRun run) : IProgress<DistillationProgress>
    {
        public void Report(DistillationProgress value) => run.Report(
            "learning",
            (double)value.Iteration / value.Iterations,
            string.Create(CultureInfo.InvariantCulture, $"epoch {value.Epoch + 1}/{value.Epochs}, timestep {value.Timestep}, loss {value.Loss:E2}, {value.TimeLeft:h\\:mm\\:ss} left"));
    }
}

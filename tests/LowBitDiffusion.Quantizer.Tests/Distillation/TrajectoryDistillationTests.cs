using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Distillation;
using LowBitDiffusion.Quantizer.Methods;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Reconstruction;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Autograd;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Distillation;

/// <summary>A tiny network is distilled for real.</summary>
internal sealed class TrajectoryDistillationTests : TinyModelFixture
{
    private static readonly DistillationOptions Options = new()
    {
        Epochs = 20,
        Sampling = new SamplingSettings(3, 1.5f) { Eta = 1 },
        Images = 1,
        AdapterRate = 0.02,
        WeightStepRate = 1e-4,
        InputStepRate = 5e-3,
        RelativeStepRates = true,
        InputZeroPointRate = 5e-3,
        Seed = 3,
        SaveEvery = 1000,
    };

    private string StateFile => Folder["state.safetensors"];

    [Test]
    public void The_loss_falls_and_the_codes_compute_what_was_learned()
    {
        using Setting setting = new(Folder);
        IReadOnlyList<DistilledStep> steps = setting.Distillation(Options with { Images = 4, Epochs = 30 }).Run();
        string table = string.Join('\n', steps.Select(step => $"timestep {step.Timestep}: {step.SqnrBefore:F2} to {step.SqnrAfter:F2} dB, loss {step.Losses[0]:E2} to {step.Losses[^1]:E2}"));
        Assert.That(steps.Average(step => step.SqnrAfter - step.SqnrBefore), Is.GreaterThan(1), $"decibels gained over rounding to nearest\n{table}");
        Assert.That(steps.Average(step => step.Losses.TakeLast(8).Average()), Is.LessThan(0.9 * steps.Average(step => step.Losses.Take(8).Average())), $"loss\n{table}");
        int[] differing = [.. steps.SelectMany(step => Enumerable.Range(6, 5).Select(seed => setting.CodesThatDiffer(step.Timestep, seed)))];
        Assert.That(differing, Has.Some.Zero, $"most pictures have no value on a border; codes that differ: {string.Join(' ', differing)}");
    }

    [Test]
    public void Every_timestep_learns_scales_of_its_own()
    {
        using Setting setting = new(Folder);
        IReadOnlyDictionary<string, QuantizedModule> before = setting.Modules, after = setting.Learn(Options);
        QuantizedModule module = after["mid_block.resnets.0.conv1"];
        Assert.That(module.Input.Timesteps.ToArray(), Is.EqualTo(new float[] { 0, 333, 666 }), "timesteps");
        Assert.That(module.Input.Scales.ToArray().Distinct().Count(), Is.EqualTo(3), "different scales");
        Assert.That(module.Input.Scales.ToArray(), Has.None.Matches<float>(scale => before["mid_block.resnets.0.conv1"].Input.Scales.Contains(scale)), "all have learned");
        Assert.That(module.Input.At(300), Is.EqualTo((module.Input.Scales[1], module.Input.ZeroPoints[1])), "a lookup by value");
        Assert.That(after["conv_in"].Codes, Is.EqualTo(before["conv_in"].Codes), "the first layer keeps its codes");
        Assert.That(after["conv_in"].Input.Scales.ToArray(), Is.EqualTo(before["conv_in"].Input.Scales.ToArray()), "and its scales");
        Assert.That(after["mid_block.attentions.0.to_q"].Input.Scales.ToArray(), Is.EqualTo(after["mid_block.attentions.0.to_v"].Input.Scales.ToArray()), "layers that read one value share its scales");
    }

    [TestCase(0)]
    [TestCase(3)]
    [TestCase(13)]
    public void A_resumed_run_ends_in_the_same_bits(int stop)
    {
        using Setting whole = new(Folder), stopped = new(Folder), resumed = new(Folder, threads: 3);
        DistillationOptions options = Options with { Epochs = 5 };
        IReadOnlyList<DistilledStep> expected = whole.Distillation(options).Run();

        using CancellationTokenSource cancellation = new();
        if (stop == 0) cancellation.Cancel();
        Watcher<DistillationProgress> progress = new(report =>
        {
            if (report.Iteration == stop) cancellation.Cancel();
        });
        Assert.That(() => stopped.Distillation(options).Run(StateFile, progress, cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
        Watcher<DistillationProgress> rest = new();
        // How much memory there is, when the state is saved and how many threads there are change nothing.
        IReadOnlyList<DistilledStep> found = resumed.Distillation(options with { ActivationMemory = 0, SaveEvery = 2 }).Run(StateFile, rest);

        Assert.That(rest.Reports[0].Iteration, Is.EqualTo(stop + 1), "updates are not made again");
        foreach ((string name, float[] values) in whole.Learned()) Assert.That(resumed.Learned()[name], Is.EqualTo(values), name);
        for (int i = 0; i < found.Count; i++)
        {
            Assert.That((found[i].Timestep, found[i].SqnrBefore, found[i].SqnrAfter), Is.EqualTo((expected[i].Timestep, expected[i].SqnrBefore, expected[i].SqnrAfter)), $"step {i}");
            Assert.That(found[i].Losses, Is.EqualTo(expected[i].Losses), $"losses of step {i}");
        }
    }

    [Test]
    public void A_state_of_another_run_is_refused()
    {
        using Setting one = new(Folder), other = new(Folder);
        one.Distillation(Options with { Epochs = 1 }).Run(StateFile);
        Assert.That(() => other.Distillation(Options with { Epochs = 1, Seed = 4 }).Run(StateFile), Throws.TypeOf<ModelFormatException>().With.Message.Contains("another run"));
    }

    [Test]
    public void A_loss_that_is_not_finite_stops_with_its_place_and_keeps_the_last_good_state()
    {
        DistillationOptions options = Options with { SaveEvery = 1, AdapterRate = 1e30 };
        TrainingDivergedException Diverge()
        {
            using Setting setting = new(Folder);
            return Assert.Throws<TrainingDivergedException>(() => setting.Distillation(options).Run(StateFile))!;
        }

        TrainingDivergedException first = Diverge();
        Assert.That(first.Iteration, Is.GreaterThan(0), "the first update is what spoils the weights");
        Assert.That(first.Message, Does.Contain("timestep ").And.Contain($"iteration {first.Iteration}"));
        TrainingDivergedException again = Diverge();
        Assert.That((again.Unit, again.Iteration), Is.EqualTo((first.Unit, first.Iteration)), "the saved state goes on to the same place");
    }

    [Test]
    public void Without_scale_awareness_all_adapters_learn_at_one_rate()
    {
        Dictionary<string, float[]> Adapters(bool scaleAware)
        {
            using Setting setting = new(Folder);
            setting.Learn(Options with { Epochs = 1, ScaleAware = scaleAware, WeightDecay = 0 });
            return setting.Learned().Where(variable => variable.Key.EndsWith("lora_b", StringComparison.Ordinal)).ToDictionary();
        }

        // Adam's first updates move every element by about the rate.
        Dictionary<string, float[]> aware = Adapters(true), flat = Adapters(false);
        double Spread(Dictionary<string, float[]> adapters) => adapters.Values.Max(values => values.Max(Math.Abs)) / adapters.Values.Min(values => values.Max(Math.Abs));
        Assert.That(Spread(flat), Is.LessThan(1.5), "greatest movement of a layer, relative to the least");
        Assert.That(Spread(aware), Is.GreaterThan(1.5 * Spread(flat)), "layers with larger steps move further");
    }

    [Test]
    public void Guidance_and_its_gradient_are_adjoint()
    {
        using Setting setting = new(Folder);
        GuidedSampler sampler = new(setting.Run.Model, new SamplingSettings(2, 1.7f), 2);
        Random random = new(1);
        float[] prediction = Networks.Normal(random, 2 * 2 * 64), gradient = Networks.Normal(random, 2 * 64);
        float[] back = sampler.GuideBackward(gradient, prediction.Length);
        double expected = back.Zip(prediction, (a, b) => (double)a * b).Sum();
        float[] guided = sampler.Guide(prediction);
        Assert.That(guided.Zip(gradient, (a, b) => (double)a * b).Sum(), Is.EqualTo(expected).Within(1e-4));
    }

    [Test]
    public void Memory_of_a_pass_is_used_again_within_its_limit()
    {
        PassMemory memory = new(limit: 100 * sizeof(float));
        float[] kept, beyond;
        using (memory.Open())
        {
            kept = Vectors.Allocate(80);
            beyond = Vectors.Allocate(40);
            Assert.That(Vectors.Allocate(80), Is.Not.SameAs(kept), "within a scope arrays differ");
        }

        using (memory.Open())
        {
            Assert.That(Vectors.Allocate(80), Is.SameAs(kept));
            Assert.That(Vectors.Allocate(40), Is.Not.SameAs(beyond), "beyond the limit");
        }

        using (memory.Open())
        {
            Assert.That(PassMemory.Lasting(() => Vectors.Allocate(80)), Is.Not.SameAs(kept), "what outlives the scope");
            Assert.That(Vectors.Allocate(80), Is.SameAs(kept), "the scope goes on");
        }

        Assert.That(Vectors.Allocate(80), Is.Not.SameAs(kept), "outside of a scope");
    }

    /// <summary>The tiny model in W3A6.</summary>
    private sealed class Setting : IDisposable
    {
        private readonly TrainingModel _student;

        public Setting(TemporaryFolder folder, int threads = 2)
        {
            Run = QuantizationRun.Open(new QuantizationRequest
            {
                Model = folder["float"],
                Output = folder["low"],
                Method = "efficientdm",
                WeightBits = 3,
                ActivationBits = 6,
                Rules = [.. PrecisionRules.ResidualReaders.Select(rule => rule with { Precision = "w3a6" })],
                Images = 2,
                Batch = 2,
                Threads = threads,
            });
            Modules = PostTrainingQuantizer.Quantize(Run);
            _student = EfficientDm.Student(Run, Modules);
        }

        public QuantizationRun Run { get; }

        public IReadOnlyDictionary<string, QuantizedModule> Modules { get; }

        public TrajectoryDistillation Distillation(DistillationOptions options) => new(Run, _student, options);

        public IReadOnlyDictionary<string, QuantizedModule> Learn(DistillationOptions options)
        {
            Distillation(options).Run();
            return _student.Export(Graph(1));
        }

        public Dictionary<string, float[]> Learned() => _student.Layers.Values.SelectMany(layer => layer.Variables).Distinct().ToDictionary(variable => variable.Name, variable => variable.Value);

        /// <summary>Asserts that the exported integers are what was learned.</summary>
        public int CodesThatDiffer(float timestep, int seed)
        {
            Graph graph = Graph(1);
            Dictionary<string, float[]> inputs = Networks.RandomInputs(graph, seed, timestep);
            ModelWeights exported = Run.Model.Weights.With(_student.Export(graph));
            Agreement.OfLayers(graph, exported, _student, inputs, Run.Pool);
            return Agreement.OfNetwork(graph, exported, _student, inputs, Run.Pool);
        }

        public void Dispose() => Run.Dispose();

        private Graph Graph(int batch) => Run.Model.Network.Build(Run.Model.Network.NativeInputs(batch));
    }
}

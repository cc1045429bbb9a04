using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Quantizers;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Tests.Autograd;

/// <summary>What is trained is what runs: simulated quantization computes what the exported integers compute, and its gradients are the written ones.</summary>
internal sealed class FakeQuantizationTests
{
    private static readonly (string Name, Func<GraphBuilder, Node, Node> Write)[] Layers =
    [
        ("conv 3x3", (g, x) => g.Conv2d("m", x, 7, 3)),
        ("conv 3x3 stride 2, asymmetric padding", (g, x) => g.Conv2d("m", x, 5, 3, 2, new Padding(0, 0, 1, 1))),
        ("conv 1x1 without bias", (g, x) => g.Conv2d("m", x, 20, 1, bias: false)),
        ("linear over tokens", (g, x) => g.Linear("m", g.ToTokens(x), 33)),
    ];

    private static readonly (WeightQuantizerOptions Weight, int InputBits, int Split, bool ChannelScales)[] Precisions =
    [
        (WeightQuantizerOptions.ForBits(8), 8, 0, false), (WeightQuantizerOptions.ForBits(4), 8, 0, false), (WeightQuantizerOptions.ForBits(4), 4, 0, false),
        (WeightQuantizerOptions.ForBits(3), 6, 0, true), (WeightQuantizerOptions.ForBits(2), 2, 0, false), (WeightQuantizerOptions.ForBits(8), 8, 5, true),
        (WeightQuantizerOptions.ForBits(4) with { SplitChannel = 5 }, 4, 5, false), (WeightQuantizerOptions.ForBits(5) with { GroupSize = 3 }, 8, 0, false),
    ];

    public static IEnumerable<TestCaseData> Cases()
    {
        foreach ((string name, Func<GraphBuilder, Node, Node> write) in Layers)
        {
            foreach ((WeightQuantizerOptions weight, int inputBits, int split, bool channelScales) in Precisions)
            {
                foreach (string learned in new[] { "rounding", "steps and adapter" })
                {
                    string precision = $"w{weight.Bits}a{inputBits}{(weight.GroupSize > 0 ? " groups" : "")}{(split > 0 ? $" split{(weight.SplitChannel > 0 ? " with weight steps" : "")}" : "")}{(channelScales ? " channel scales" : "")}";
                    yield return new TestCaseData(write, weight, inputBits, split, channelScales, learned).SetArgDisplayNames(name, precision, learned);
                }
            }
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void A_layer_computes_what_its_integers_compute(Func<GraphBuilder, Node, Node> write, WeightQuantizerOptions options, int inputBits, int split, bool channelScales, string learned)
    {
        using WorkerPool pool = new(2);
        Graph batch = Layer(write, 4), single = Layer(write, 1);
        MatrixOp op = (MatrixOp)batch.MatrixNodes.Single().Op;
        if (options.GroupSize > 0) options = options with { GroupSize = options.GroupSize * (int)(op.WeightShape.Elements / op.WeightShape[0] / op.WeightShape[1]) };
        ModelWeights weights = Networks.RandomWeights(batch, 1);
        Random random = new(2);
        TrainingModel model = new(weights);
        FakeQuantizedWeight weight = Weight(op, weights.Float(op.Parameters.First()), options, learned, random);
        FakeQuantizedInput input = Networks.Input(op, inputBits, random, split, channelScales);
        model.Layers.Add("m", new FakeQuantizedLayer(weight, input));
        // Learned zero points are real numbers; the runtime gets them rounded.
        for (int i = 0; i < input.ZeroPoints.Value.Length; i++) input.ZeroPoints.Value[i] += 0.4f * (i % 3 - 1);
        input.ZeroPoints.Limit();
        Dictionary<string, float[]> inputs = Networks.RandomInputs(batch, 3);

        float[] simulated = new GradientExecutor(model, pool).Predict(batch, inputs, new RunSettings { Timesteps = inputs["timestep"] })["out"];

        ModelWeights exported = weights.With(model.Export(batch));
        int image = simulated.Length / 4, length = inputs["x"].Length / 4;
        for (int n = 0; n < 4; n++)
        {
            float timestep = inputs["timestep"][n];
            Dictionary<string, float[]> one = new() { ["x"] = inputs["x"][(n * length)..((n + 1) * length)], ["timestep"] = [timestep] };
            float[] integers = ReferenceExecutor.Run(single, exported, one, timestep)["out"];
            Close.RelativeToMax(simulated.AsSpan(n * image, image), integers, 2e-6, $"image {n} at timestep {timestep}");
        }
    }

    [Test]
    public void A_network_computes_what_its_integers_compute([Values("unet", "dit")] string network, [Values(8, 4)] int inputBits)
    {
        using WorkerPool pool = new(2);
        INetwork model = network == "unet" ? Networks.TinyUNet() : Networks.TinyDiT();
        Graph graph = model.Build(model.NativeInputs(2));
        ModelWeights weights = Networks.RandomWeights(graph, 1);
        TrainingModel training = Networks.Quantize(graph, weights, 4, inputBits);
        Dictionary<string, float[]> inputs = Networks.RandomInputs(graph, 3, timestep: 500);

        float[] simulated = new GradientExecutor(training, pool).Predict(graph, inputs, new RunSettings { Timesteps = inputs["timestep"] })["sample"];
        float[] integers = ReferenceExecutor.Run(graph, weights.With(training.Export(graph)), inputs, 500)["sample"];

        // A code may differ by one where a value lies within rounding of a tie.
        double error = Math.Sqrt(simulated.Zip(integers, (a, b) => (double)(a - b) * (a - b)).Sum()) / Math.Sqrt(integers.Sum(v => (double)v * v));
        Assert.That(error, Is.LessThan(5e-3), "relative error against the integers");
        float[] plain = ReferenceExecutor.Run(graph, weights, inputs)["sample"];
        double quantization = Math.Sqrt(plain.Zip(integers, (a, b) => (double)(a - b) * (a - b)).Sum()) / Math.Sqrt(integers.Sum(v => (double)v * v));
        Assert.That(quantization, Is.GreaterThan(10 * error), "quantization itself is what the simulation shows");
    }

    [Test]
    public void Gradients_of_an_input_quantizer_are_gathered_by_timestep([Values] bool split, [Values] bool channelScales)
    {
        using WorkerPool pool = new(2);
        Graph graph = Layer((g, x) => g.Conv2d("m", x, 1, 1, bias: false), 6);
        MatrixOp op = (MatrixOp)graph.MatrixNodes.Single().Op;
        FakeQuantizedInput quantizer = Networks.Input(op, 4, new Random(4), split ? 5 : 0, channelScales);
        quantizer.Scales.Trainable = quantizer.ZeroPoints.Trainable = true;
        TensorShape shape = graph.Inputs["x"].Shape;
        float[] x = Networks.Normal(new Random(5), shape.Elements, 2), dy = Networks.Normal(new Random(6), shape.Elements);
        RunSettings settings = new() { Timesteps = [900, 0, 900, 250, 0, 500] };

        float[] dx = quantizer.Backward(pool, "m", x, shape, settings, dy);

        int channels = shape.Channels, rows = shape.Positions, segments = split ? 2 : 1;
        float[] expectedX = new float[x.Length], expectedSteps = new float[quantizer.Scales.Value.Length], expectedZeros = new float[expectedSteps.Length];
        for (int i = 0; i < x.Length; i++)
        {
            int c = i % channels, entry = Array.IndexOf(Networks.Timesteps, settings.Timesteps[i / channels / rows]) * segments + (split && c >= 5 ? 1 : 0);
            float s = channelScales ? quantizer.ChannelScales![c] : 1;
            LearnedStepGradients one = LearnedStep.Backward([x[i] / s], [quantizer.Scales.Value[entry]], [quantizer.ZeroPoints.Value[entry]], 4, [dy[i]]);
            expectedX[i] = one.Input[0] / s;
            expectedSteps[entry] += one.Scales[0];
            expectedZeros[entry] += one.ZeroPoints[0];
        }

        Close.Absolute(dx, expectedX, 1e-6, "gradient of the input");
        Close.RelativeToMax(quantizer.Scales.Gradient, expectedSteps, 1e-5, "gradient of the steps");
        Close.RelativeToMax(quantizer.ZeroPoints.Gradient, expectedZeros, 1e-5, "gradient of the zero points");
    }

    [Test]
    public void Gradients_of_a_learned_weight_are_those_of_its_parts([Values] bool adapter)
    {
        using WorkerPool pool = new(2);
        TensorShape shape = new(5, 3, 3, 3);
        Random random = new(8);
        WeightQuantizerOptions options = WeightQuantizerOptions.ForBits(3);
        float[] w = Networks.Normal(random, shape.Elements), a = Networks.Normal(random, 2 * 27, 0.3), b = Networks.Normal(random, 5 * 2, 0.3), dy = Networks.Normal(random, shape.Elements);
        QuantizedWeight nearest = WeightQuantizer.Quantize(w, shape, options);
        LearnedWeight weight = new("m", w, shape, nearest, options, adapter ? (a, b) : null);

        float[] values = weight.Values(pool);
        weight.Backward(pool, dy);

        float[] merged = adapter ? [.. w.Zip(LowRankAdapter.Delta(a, b, 2), (x, change) => x + change)] : w, zeros = Array.ConvertAll(nearest.ZeroPoints!, z => (float)z);
        LearnedStepGradients expected = LearnedStep.Backward(merged, nearest.Scales, zeros, 3, dy);
        Close.Absolute(values, LearnedStep.Forward(merged, nearest.Scales, zeros, 3), 1e-6, "weight");
        Close.Absolute(weight.Base.Gradient, expected.Input, 1e-6, "gradient of the float weight");
        Close.RelativeToMax(weight.Scales.Gradient, expected.Scales, 1e-5, "gradient of the steps");
        if (!adapter) return;
        (float[] gradientA, float[] gradientB) = LowRankAdapter.Backward(a, b, 2, expected.Input);
        Close.RelativeToMax(weight.Adapter[0].Gradient, gradientA, 1e-5, "gradient of A");
        Close.RelativeToMax(weight.Adapter[1].Gradient, gradientB, 1e-5, "gradient of B");
    }

    [TestCase(0.0)]
    [TestCase(0.5)]
    [TestCase(1.0)]
    public void Omitted_quantizers_leave_the_value_and_pass_its_gradient(double keep)
    {
        using WorkerPool pool = new(2);
        Graph graph = Layer((g, x) => g.Conv2d("m", x, 1, 1, bias: false), 4);
        FakeQuantizedInput quantizer = Networks.Input((MatrixOp)graph.MatrixNodes.Single().Op, 2, new Random(4), channelScales: true);
        quantizer.Scales.Trainable = true;
        TensorShape shape = graph.Inputs["x"].Shape;
        float[] x = Networks.Normal(new Random(5), shape.Elements, 2), ones = [.. Enumerable.Repeat(1f, x.Length)];
        RunSettings all = new() { Timesteps = [0, 250, 500, 900] }, some = all with { Drop = new QuantizationDrop(keep, 77) };

        float[] full = quantizer.Forward(pool, "m", x, shape, all), dropped = quantizer.Forward(pool, "m", x, shape, some), gradient = quantizer.Backward(pool, "m", x, shape, some, ones);

        int omitted = 0;
        for (int i = 0; i < x.Length; i++)
        {
            float scale = quantizer.ChannelScales![i % shape.Channels], plain = x[i] / scale;
            if (dropped[i] == full[i] && keep > 0) continue;
            omitted++;
            Assert.That(dropped[i], Is.EqualTo(plain), $"element {i} is either quantized or float");
            Assert.That(gradient[i], Is.EqualTo(1 / scale).Within(1e-6), $"gradient of element {i}");
        }

        Assert.That((double)omitted / x.Length, Is.EqualTo(1 - keep).Within(0.08), "share of omitted quantizers");
        Assert.That(quantizer.Forward(pool, "m", x, shape, some), Is.EqualTo(dropped), "the same seed omits the same elements");
        if (keep == 0.5) Assert.That(quantizer.Forward(pool, "m", x, shape, some with { Drop = new QuantizationDrop(keep, 78) }), Is.Not.EqualTo(dropped), "another seed omits others");
    }

    [Test]
    public void A_quantized_module_becomes_a_layer_and_comes_back([Values("rounded", "learned", "adapter")] string kind, [Values(0, 1, 2, 3, 4, 5, 6, 7)] int precision)
    {
        (WeightQuantizerOptions options, int inputBits, int split, bool channelScales) = Precisions[precision];
        Graph graph = Layer((g, x) => g.Conv2d("m", x, 7, 1), 1);
        MatrixOp op = (MatrixOp)graph.MatrixNodes.Single().Op;
        float[] weight = Networks.RandomWeights(graph, 1).Float(op.Parameters.First());
        FakeQuantizedInput input = Networks.Input(op, inputBits, new Random(2), split, channelScales);
        float[] dilated = channelScales ? WeightDilation.Dilate(weight, input.ChannelScales!, 1) : weight;
        QuantizedModule module = new FakeQuantizedLayer(new FrozenWeight(WeightQuantizer.Quantize(dilated, op.WeightShape, options), op.WeightShape, options), input).Export(op, [1, 2, 3, 4, 5, 6, 7]);

        FakeQuantizedLayer layer = kind == "rounded" ? FakeQuantizedLayer.Rounded(module, weight) : FakeQuantizedLayer.Learned(module, weight, kind == "adapter" ? 2 : 0, 3);
        QuantizedModule back = layer.Export(op, module.Bias);

        Assert.That(back.Codes, Is.EqualTo(module.Codes), "codes");
        Assert.That(back.WeightScales, Is.EqualTo(module.WeightScales), "weight scales");
        Assert.That(back.WeightZeroPoints, Is.EqualTo(module.WeightZeroPoints), "zero points");
        Assert.That((back.WeightBits, back.GroupSize, back.SplitChannel), Is.EqualTo((module.WeightBits, module.GroupSize, module.SplitChannel)), "bits, groups, split");
        Assert.That(back.InputChannelScales, Is.EqualTo(module.InputChannelScales), "channel scales");
        Assert.That(back.Input.Scales.ToArray(), Is.EqualTo(module.Input.Scales.ToArray()), "input scales");
        Assert.That(back.Input.ZeroPoints.ToArray(), Is.EqualTo(module.Input.ZeroPoints.ToArray()), "input zero points");
        if (kind != "adapter") return;
        IReadOnlyList<Variable> adapter = ((LearnedWeight)layer.Weight).Adapter;
        Assert.That(adapter[0].Value, Has.All.InRange(-1 / MathF.Sqrt(12), 1 / MathF.Sqrt(12)), "A");
        Assert.That(adapter[0].Value.Distinct().Count(), Is.EqualTo(adapter[0].Value.Length), "A is random");
        Assert.That(adapter[1].Value, Has.All.Zero, "B");
    }

    [Test]
    public void A_table_needs_a_timestep()
    {
        using WorkerPool pool = new(1);
        Graph graph = Layer((g, x) => g.Conv2d("m", x, 1, 1), 1);
        TrainingModel model = Networks.Quantize(graph, Networks.RandomWeights(graph, 1), 4, 8);
        Assert.That(() => new GradientExecutor(model, pool).Predict(graph, Networks.RandomInputs(graph, 1)), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("'m'").And.Message.Contains("4 timesteps"));
    }

    private static FakeQuantizedWeight Weight(MatrixOp op, float[] weight, WeightQuantizerOptions options, string learned, Random random)
    {
        QuantizedWeight nearest = WeightQuantizer.Quantize(weight, op.WeightShape, options);
        if (learned == "rounding")
        {
            RoundedWeight rounded = new(op.Module, weight, op.WeightShape, nearest, options) { Hard = true };
            for (int i = 0; i < rounded.Alpha.Value.Length; i++) rounded.Alpha.Value[i] = (float)(random.NextDouble() - 0.5);
            return rounded;
        }

        int outputs = op.WeightShape[0], depth = weight.Length / outputs;
        return new LearnedWeight(op.Module, weight, op.WeightShape, nearest, options, (Networks.Normal(random, 2 * depth, 0.1), Networks.Normal(random, 2 * outputs, 0.1)));
    }

    private static Graph Layer(Func<GraphBuilder, Node, Node> write, int batch)
    {
        GraphBuilder g = new();
        g.Input("timestep", new TensorShape(batch), Dependence.Timestep);
        g.Output("out", write(g, g.Input("x", new TensorShape(batch, 12, 5, 7), Dependence.Sample)));
        return g.Build();
    }
}

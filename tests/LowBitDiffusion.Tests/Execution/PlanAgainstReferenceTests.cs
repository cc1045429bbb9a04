using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Execution;

/// <summary>A plan computes what the reference executor computes: bit for bit where only integers and the written epilogue are involved, else within float rounding.</summary>
[Category("Execution")]
public sealed class PlanAgainstReferenceTests
{
    private static readonly LayerPrecision[] Precisions =
    [
        new(8, 8), new(4, 8), new(4, 4), new(3, 6), new(2, 2), new(7, 5), new(5, 8, GroupChannels: 3), new(8, 8, Split: 5), new(4, 8, Split: 5, SplitWeightScales: true),
        new(4, 8, GroupChannels: 3, Split: 5), new(8, 8, ChannelScales: true), new(4, 4, Split: 5, ChannelScales: true),
    ];

    private static readonly (int Batch, int Queries, int Keys, int Heads, int Width)[] Attentions = [(1, 64, 64, 2, 8), (2, 33, 77, 3, 5), (1, 50, 300, 2, 20), (1, 3, 145, 1, 33)];

    public static IEnumerable<TestCaseData> ExactLayers()
    {
        foreach (LayerPrecision precision in Precisions)
        {
            yield return Case("conv 3x3", precision, (g, x) => g.Conv2d("op", x, 7, 3));
            yield return Case("conv 1x1 without bias", precision, (g, x) => g.Conv2d("op", x, 20, 1, bias: false));
            yield return Case("conv stride 2, asymmetric padding", precision, (g, x) => g.Conv2d("op", x, 5, 3, 2, new Padding(0, 0, 1, 1)));
            yield return Case("linear over tokens", precision, (g, x) => g.Linear("op", g.ToTokens(x), 33));
            yield return Case("conv of a nearest upsampling", precision, (g, x) => g.Conv2d("op", g.Upsample(x, 10, 14), 6, 3));
            yield return Case("conv of an upsampling to odd sizes", precision, (g, x) => g.Affine(g.Conv2d("op", g.Upsample(x, 9, 13), 6, 3), 0.7f));
            yield return Case("conv of an upsampling by two and a half", precision, (g, x) => g.Conv2d("op", g.Upsample(x, 12, 18), 6, 3, 2, Padding.Same(2)));
            yield return Case("sum of convs of an image, of its upsampling and 1x1 of that", precision, (g, x) =>
            {
                Node up = g.Upsample(x, 10, 14);
                return g.Add(g.Conv2d("op", up, 6, 3), g.Add(g.Conv2d("other", up, 6, 1), g.Upsample(g.Conv2d("third", x, 6, 3), 10, 14)));
            });
            yield return Case("conv + residual", precision, (g, x) => g.Affine(g.Add(g.Conv2d("op", x, 12, 3), x), 0.7f));
            yield return Case("two linear layers", precision, (g, x) => g.Linear("op", g.Linear("first", g.ToTokens(x), 12), 33));
            yield return Case("conv + residual read by two linear layers", precision, (g, x) =>
            {
                Node tokens = g.ToTokens(g.Add(g.Conv2d("first", x, 12, 3), x));
                return g.Add(g.Linear("op", tokens, 7), g.Linear("other", tokens, 7));
            });
            yield return Case("conv of a concatenation", precision, (g, x) => g.Conv2d("op", g.Concat(g.Slice(x, 0, 5), g.Slice(x, 5, 7)), 9, 1));
        }

        yield return Case("300 groups", new(4, 8, GroupChannels: 2), (g, x) => g.Linear("op", g.Linear("first", g.ToTokens(x), 600), 9));
    }

    [TestCaseSource(nameof(ExactLayers))]
    public void A_layer_in_integers_is_bit_identical(string layer, string precision, Graph graph, ModelWeights weights)
    {
        float[] input = RandomModel.Normal(new Random(5), (int)graph.Inputs["x"].Shape.Elements, 2);
        Dictionary<string, float[]> inputs = new() { ["x"] = input, ["timestep"] = [480, 480] };

        float[] expected = ReferenceExecutor.Run(graph, weights, inputs, 480)["out"], found = RunPlan(graph, weights, inputs);

        Assert.That(found, Is.EqualTo(expected), $"{layer}, {precision}");
    }

    public static IEnumerable<TestCaseData> Chains()
    {
        foreach (bool channelScales in new[] { false, true })
        {
            LayerPrecision precision = new(4, 8, ChannelScales: channelScales);
            yield return Case("gate", precision, (g, x) => g.Linear("op", g.Geglu(g.Linear("first", g.ToTokens(x), 64)), 9));
            yield return Case("gate read by convolutions", precision, (g, x) => g.Conv2d("op", g.ToImage(g.Geglu(g.ToTokens(g.Conv2d("first", x, 96, 3))), 5, 7), 9, 3));
            yield return Case("gate between images read without a border", precision, (g, x) => g.Conv2d("op", g.ToImage(g.Geglu(g.ToTokens(g.Conv2d("first", x, 96, 3))), 5, 7), 9, 1));
            yield return Case("gate of channels that no panel divides", precision, (g, x) => g.Linear("op", g.Geglu(g.Linear("first", g.ToTokens(x), 38)), 9));
            yield return Case("gate that is an output too", precision, (g, x) =>
            {
                Node gate = g.Geglu(g.Linear("first", g.ToTokens(x), 64));
                return g.Add(g.Linear("op", gate, 32), gate);
            });
            foreach (ActivationKind kind in new[] { ActivationKind.Silu, ActivationKind.Gelu, ActivationKind.GeluTanh, ActivationKind.QuickGelu })
                yield return Case($"{kind}", precision, (g, x) => g.Linear("op", g.Activation(kind, g.ToTokens(g.Conv2d("first", x, 20, 1))), 9));
        }
    }

    [TestCaseSource(nameof(Chains))]
    public void Layers_that_hand_over_codes_give_the_bits_of_layers_that_hand_over_floats(string chain, string precision, Graph graph, ModelWeights weights)
    {
        Dictionary<string, float[]> inputs = new() { ["x"] = RandomModel.Normal(new Random(5), (int)graph.Inputs["x"].Shape.Elements, 2), ["timestep"] = [480, 480] };

        // What is observed is stored as it is.
        float[] apart = RunPlan(graph, weights, inputs, observed: graph.Nodes), together = RunPlan(graph, weights, inputs);

        Assert.That(together, Is.EqualTo(apart), $"{chain}, {precision}");
    }

    [Test]
    public void A_feed_forward_in_integers_is_one_pass_and_two_layers()
    {
        (Graph graph, ModelWeights weights) = Build(new(8, 8), (g, x) => g.Linear("op", g.Geglu(g.Linear("first", g.ToTokens(x), 96)), 12));
        using PackedModel model = new(weights, KernelTable.Best);
        ExecutionPlan plan = PlanCompiler.Compile(model, graph, [], threads: 2);

        Assert.That(plan.Steps[PlanPhase.Sample].Select(s => s.Kind), Is.EqualTo(new[] { "input", "stage u8", "linear w8a8", "linear w8a8", "output" }));
    }

    [Test]
    public void A_convolution_reads_the_image_before_its_upsampling([Values] bool quantized)
    {
        (Graph graph, ModelWeights weights) = Build(new(8, 8), (g, x) => g.Conv2d("op", g.Upsample(x, 10, 14), 6, 3));
        if (!quantized) weights = RandomModel.Weights(graph, 1, _ => null);
        using PackedModel model = new(weights, KernelTable.Best);
        ExecutionPlan plan = PlanCompiler.Compile(model, graph, [], threads: 2);

        PlanStep stage = plan.Steps[PlanPhase.Sample].Single(step => step.Kind is "stage u8" or "stage f32");
        int bytes = 2 * 7 * 9 * 12 * (quantized ? sizeof(byte) : sizeof(float));
        Assert.That(stage.Regions.Last().Bytes, Is.InRange(bytes, bytes + 128), "an image of 5×7 with a border of one pixel, and slack");
    }

    [Test]
    public void An_attention_of_few_bits_is_bit_identical(
        [Values(AttentionPrecision.Int8, AttentionPrecision.Bf16)] AttentionPrecision precision, [ValueSource(nameof(Attentions))] (int Batch, int Queries, int Keys, int Heads, int Width) shape)
    {
        (int batch, int queries, int keys, int heads, int width) = shape;
        GraphBuilder g = new();
        Node q = g.Input("q", new(batch, queries, heads * width), Dependence.Sample), k = g.Input("k", new(batch, keys, heads * width), Dependence.Sample);
        g.Output("out", g.Attention(q, k, g.Input("v", new(batch, keys, heads * 7), Dependence.Sample), heads));
        Graph graph = g.Build();
        ModelWeights weights = RandomModel.Weights(graph, 1, _ => null).With(new Dictionary<string, QuantizedModule>(), precision);
        Random random = new(9);
        Dictionary<string, float[]> inputs = graph.Inputs.ToDictionary(i => i.Key, i => RandomModel.Normal(random, (int)i.Value.Shape.Elements, 3, 1));
        float[] expected = ReferenceExecutor.Run(graph, weights, inputs)["out"], found = RunPlan(graph, weights, inputs);

        // Without the instruction bfloat16 is computed in float.
        if (precision == AttentionPrecision.Int8 || Bf16Attention.IsSupported) Assert.That(found, Is.EqualTo(expected));
        else Assert.That(found, Is.EqualTo(expected).Within(0.5f));
    }

    [Test]
    public void Causal_and_masked_attentions_stay_in_float()
    {
        GraphBuilder g = new();
        Node x = g.Input("x", new(1, 20, 8), Dependence.Sample), mask = g.Input("mask", new(1, 20), Dependence.Sample);
        Node plain = g.Attention(x, x, x, 2), causal = g.Attention(x, x, x, 2, causal: true), masked = g.Attention(x, x, x, 2, mask: mask);
        g.Output("out", g.Add(g.Add(plain, causal), masked));
        ModelWeights weights = RandomModel.Weights(g.Build(), 1, _ => null).With(new Dictionary<string, QuantizedModule>(), AttentionPrecision.Int8);

        Assert.That(new[] { plain, causal, masked }.Select(weights.AttentionOf), Is.EqualTo(new[] { AttentionPrecision.Int8, AttentionPrecision.Float, AttentionPrecision.Float }));
    }

    [Test]
    public void A_network_is_within_float_rounding([Range(0, 39)] int seed, [Values] bool quantized)
    {
        Random random = new(seed);
        Graph graph = RandomNetwork.Build(random);
        ModelWeights weights = RandomModel.Weights(graph, seed, op => quantized && random.Next(4) > 0 ? new LayerPrecision(random.Next(2, 9), 8, random.Next(3) == 0 && op.WeightShape[1] % 4 == 0 ? 4 : 0) : null);
        if (quantized && seed % 2 == 0) weights = weights.With(weights.QuantizedModules, seed % 4 == 0 ? AttentionPrecision.Int8 : AttentionPrecision.Bf16);
        Dictionary<string, float[]> inputs = new()
        {
            ["sample"] = RandomModel.Normal(random, (int)graph.Inputs["sample"].Shape.Elements),
            ["text"] = RandomModel.Normal(random, (int)graph.Inputs["text"].Shape.Elements),
            ["timestep"] = [.. Enumerable.Repeat(321f, graph.Inputs["timestep"].Shape[0])],
        };

        float[] expected = ReferenceExecutor.Run(graph, weights, inputs, 321)["sample"], found = RunPlan(graph, weights, inputs, "sample");

        // A code may differ by one where a normalised value lies within rounding of a tie; its effect is one step of that layer.
        double norm = Math.Sqrt(expected.Sum(v => (double)v * v)), error = Math.Sqrt(expected.Zip(found, (a, b) => (double)(a - b) * (a - b)).Sum());
        Assert.That(error / norm, Is.LessThan(quantized ? 5e-3 : 2e-5), string.Join('\n', graph.Nodes));
    }

    [Test]
    public void The_result_does_not_depend_on_the_number_of_threads([Values] bool quantized)
    {
        Random random = new(11);
        Graph graph = RandomNetwork.Build(random);
        ModelWeights weights = RandomModel.Weights(graph, 3, _ => quantized ? new LayerPrecision(4, 8) : null);
        Dictionary<string, float[]> inputs = new()
        {
            ["sample"] = RandomModel.Normal(random, (int)graph.Inputs["sample"].Shape.Elements),
            ["text"] = RandomModel.Normal(random, (int)graph.Inputs["text"].Shape.Elements),
            ["timestep"] = [.. Enumerable.Repeat(7f, graph.Inputs["timestep"].Shape[0])],
        };

        float[] one = RunPlan(graph, weights, inputs, "sample", threads: 1);

        foreach (int threads in new[] { 2, 3, 5 }) Assert.That(RunPlan(graph, weights, inputs, "sample", threads), Is.EqualTo(one), $"{threads} threads");
    }

    private static TestCaseData Case(string layer, LayerPrecision precision, Func<GraphBuilder, Node, Node> write)
    {
        (Graph graph, ModelWeights weights) = Build(precision, write);
        return new TestCaseData(layer, precision.ToString(), graph, weights).SetArgDisplayNames(layer, precision.ToString());
    }

    private static (Graph Graph, ModelWeights Weights) Build(LayerPrecision precision, Func<GraphBuilder, Node, Node> write)
    {
        GraphBuilder g = new();
        g.Input("timestep", new(2), Dependence.Timestep);
        g.Output("out", write(g, g.Input("x", new(2, 12, 5, 7), Dependence.Sample)));
        Graph graph = g.Build();
        return (graph, RandomModel.Weights(graph, 1, _ => precision));
    }

    private static float[] RunPlan(
        Graph graph, ModelWeights weights, Dictionary<string, float[]> inputs, string output = "out", int threads = 2, IEnumerable<Node>? observed = null)
    {
        using WorkerPool pool = new(threads);
        using PackedModel model = new(weights, KernelTable.Best);
        using PlannedNetwork network = new(PlanCompiler.Compile(model, graph, observed ?? [], threads), model, pool, null, default);
        return network.Run(inputs)[output];
    }
}

using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Tests.Execution;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Plan;

/// <summary>A compiled plan computes on a device what it computes on the processor: layers bit for bit, networks within the bound of the processor's own executors.</summary>
[Category("Execution")]
public sealed class DevicePlanTests : ModelDeviceFixture
{
    private static readonly LayerPrecision[] Precisions =
    [
        new(8, 8), new(4, 8), new(4, 4), new(2, 2), new(5, 8, GroupChannels: 3), new(4, 8, Split: 5, SplitWeightScales: true), new(4, 8, GroupChannels: 3, Split: 5), new(4, 4, Split: 5, ChannelScales: true),
    ];

    public static IEnumerable<TestCaseData> Layers()
    {
        foreach (LayerPrecision? precision in (LayerPrecision?[])[.. Precisions, null])
        {
            yield return Case("conv 3x3", precision, (g, x) => g.Conv2d("op", x, 7, 3));
            yield return Case("conv stride 2, asymmetric padding", precision, (g, x) => g.Conv2d("op", x, 5, 3, 2, new Padding(0, 0, 1, 1)));
            yield return Case("linear over tokens", precision, (g, x) => g.Linear("op", g.ToTokens(x), 33));
            yield return Case("conv of an activated nearest upsampling", precision, (g, x) => g.Conv2d("op", g.Upsample(g.Silu(x), 10, 14), 6, 3));
            yield return Case("conv of an upsampling to odd sizes", precision, (g, x) => g.Conv2d("op", g.Upsample(x, 9, 13), 6, 3));
            yield return Case("conv of a group norm", precision, (g, x) => g.Conv2d("op", g.Silu(g.GroupNorm("norm", x, 3, 1e-5f)), 6, 3));
            yield return Case("linear of a layer norm", precision, (g, x) => g.Linear("op", g.LayerNorm("norm", g.ToTokens(x), 1e-5f), 9));
            yield return Case("conv + residual", precision, (g, x) => g.Affine(g.Add(g.Conv2d("op", x, 12, 3), x), 0.7f));
            yield return Case("conv of a concatenation", precision, (g, x) => g.Conv2d("op", g.Concat(g.Slice(x, 0, 5), g.Slice(x, 5, 7)), 9, 1));
            yield return Case("conv of a pooled image", precision, (g, x) => g.Conv2d("op", g.AveragePool(x), 9, 1));
        }

        foreach (LayerPrecision precision in (LayerPrecision[])[new(8, 8), new(4, 4), new(4, 8, ChannelScales: true)])
        {
            yield return Case("gate whose result is codes", precision, (g, x) => g.Linear("ff2", g.Geglu(g.Linear("op", g.ToTokens(x), 128)), 9));
            yield return Case("activation whose result is codes", precision, (g, x) => g.Linear("ff2", g.Silu(g.Linear("op", g.ToTokens(x), 40)), 9));
        }
    }

    [TestCaseSource(nameof(Layers))]
    public void A_layer_has_the_same_bits(Graph graph, ModelWeights weights)
    {
        if (!Device.Properties.DividesCorrectly || !Device.Properties.HasDoubles) Assert.Ignore("the device rounds divisions or sums its own way");
        Dictionary<string, float[]> inputs = new() { ["x"] = RandomModel.Normal(new Random(5), (int)graph.Inputs["x"].Shape.Elements, 2), ["timestep"] = [480, 480] };

        IntegerMatrixTests.SameBits(Run(graph, weights, inputs, Device)["out"], Run(graph, weights, inputs, null)["out"], graph.Outputs["out"].ToString());
    }

    [Test]
    public void A_network_is_within_float_rounding([Range(0, 11)] int seed, [Values] bool quantized)
    {
        Random random = new(seed);
        Graph graph = RandomNetwork.Build(random);
        ModelWeights weights = RandomModel.Weights(graph, seed, _ => quantized && random.Next(4) > 0 ? new LayerPrecision(random.Next(2, 9), 8) : null);
        Dictionary<string, float[]> inputs = new()
        {
            ["sample"] = RandomModel.Normal(random, (int)graph.Inputs["sample"].Shape.Elements),
            ["timestep"] = [.. Enumerable.Repeat(321f, graph.Inputs["timestep"].Shape[0])],
            ["text"] = Text(graph)["text"],
        };

        float[] expected = Run(graph, weights, inputs, null)["sample"], found = Run(graph, weights, inputs, Device)["sample"];

        // A code may differ by one where a value lies within rounding of a tie; its effect is one step of that layer.
        double error = Difference.Relative(expected, found);
        Assert.That(error, Is.LessThan(quantized ? 5e-3 : 2e-5), string.Join('\n', graph.Nodes));
    }

    [TestCase(AttentionPrecision.Int8)]
    [TestCase(AttentionPrecision.Bf16)]
    public void A_network_with_attention_in_few_bits_has_the_same_bits(AttentionPrecision precision)
    {
        if (!Device.Properties.DividesCorrectly || !Device.Properties.HasDoubles) Assert.Ignore("the device rounds divisions or sums its own way");
        GraphBuilder g = new();
        g.Input("timestep", new(2), Dependence.Timestep);
        Node tokens = g.ToTokens(g.Input("x", new(2, 12, 9, 10), Dependence.Sample)), normed = g.LayerNorm("norm", tokens, 1e-5f);
        g.Output("out", g.Add(g.Linear("o", g.Attention(g.Linear("q", normed, 16), g.Linear("k", normed, 16), g.Linear("v", normed, 16), 2), 12), tokens));
        Graph graph = g.Build();
        ModelWeights weights = RandomModel.Weights(graph, 1, _ => new LayerPrecision(8, 8));
        weights = weights.With(weights.QuantizedModules, precision);
        Dictionary<string, float[]> inputs = new() { ["x"] = RandomModel.Normal(new Random(5), 2160, 2), ["timestep"] = [480, 480] };

        IntegerMatrixTests.SameBits(Run(graph, weights, inputs, Device)["out"], Run(graph, weights, inputs, null)["out"], $"attention in {precision}");
    }

    [Test]
    public void A_step_of_the_loop_waits_once_and_moves_only_sample_and_prediction()
    {
        Random random = new(3);
        Graph graph = RandomNetwork.Build(random);
        ModelWeights weights = RandomModel.Weights(graph, 3, _ => new LayerPrecision(8, 8));
        using LoadedNetwork loaded = new(graph, weights, Device, Pool);
        PlannedNetwork network = loaded.Network;
        float[] sample = RandomModel.Normal(random, network.SampleLength), prediction = new float[network.PredictionLength], other = new float[network.PredictionLength];
        network.Prepare([900, 500], Text(graph));
        network.Predict(0, sample, prediction);
        QueueStatistics before = network.DeviceStatistics;

        network.Predict(1, sample, prediction);

        QueueStatistics step = network.DeviceStatistics.Since(before);
        Assert.That(step.BytesUp, Is.EqualTo(sample.Length * sizeof(float)), "bytes up");
        Assert.That(step.BytesDown, Is.EqualTo(prediction.Length * sizeof(float)), "bytes down");
        Assert.That(step.Waits, Is.EqualTo(1 + step.Launches / 64).Within(1), "waits");
        Assert.That(network.HostSteps.Where(s => s.InLoop), Is.Empty, "steps of the loop on the processor");
        Assert.That(network.HostSteps, Has.Some.Property("Kind").EqualTo("timestepembedding"), "steps on the processor, with their reason");

        network.Predict(0, sample, other);
        Assert.That(other, Is.Not.EqualTo(prediction), "timesteps have scales and projections of their own");
        Assert.That(loaded.DeviceWeightBytes, Is.GreaterThanOrEqualTo(DeviceModel.EstimateBytes(graph, weights)).And.LessThan(2 * DeviceModel.EstimateBytes(graph, weights) + (1 << 20)), "weights as foretold");
    }

    [Test]
    public void Loading_tells_once_of_what_both_the_processor_and_the_device_get()
    {
        Graph graph = RandomNetwork.Build(new Random(3));
        ModelWeights weights = RandomModel.Weights(graph, 3, _ => new LayerPrecision(8, 8));
        Watcher<double> watcher = new(pause: TimeSpan.FromMilliseconds(1));

        using LoadedNetwork loaded = new(graph, weights, Device, Pool, watcher);

        Assert.That(loaded.Network.HostSteps, Is.Not.Empty, "some steps are the processor's");
        Assert.That(watcher.Reports, Is.Ordered.Ascending);
        Assert.That(watcher.Reports[^1], Is.EqualTo(1).Within(1e-9));
        Assert.That(watcher.Overlapping, Is.Zero, "reports at the same time");
    }

    [Test]
    public void A_twin_has_conditions_of_its_own()
    {
        Graph graph = RandomNetwork.Build(new Random(5));
        ModelWeights weights = RandomModel.Weights(graph, 5, _ => null);
        using LoadedNetwork loaded = new(graph, weights, Device, Pool);
        PlannedNetwork network = loaded.Network;
        float[] sample = RandomModel.Normal(new Random(1), network.SampleLength), first = new float[network.PredictionLength], again = new float[network.PredictionLength];
        network.Prepare([900], Text(graph));
        network.Predict(0, sample, first);
        using (PlannedNetwork twin = network.Twin())
        {
            twin.Prepare([100], Text(graph));
            twin.Predict(0, sample, again);
            Assert.That(again, Is.Not.EqualTo(first));
        }

        network.Predict(0, sample, again);
        Assert.That(again, Is.EqualTo(first));
    }

    [Test]
    public void Cancellation_ends_a_step_and_the_network_can_go_on()
    {
        Graph graph = RandomNetwork.Build(new Random(7));
        ModelWeights weights = RandomModel.Weights(graph, 7, _ => new LayerPrecision(8, 8));
        using LoadedNetwork loaded = new(graph, weights, Device, Pool);
        PlannedNetwork network = loaded.Network;
        float[] sample = RandomModel.Normal(new Random(1), network.SampleLength), expected = new float[network.PredictionLength], found = new float[network.PredictionLength];
        network.Prepare([900], Text(graph));
        network.Predict(0, sample, expected);

        Assert.Throws<OperationCanceledException>(() => network.Predict(0, sample, found, new CancellationToken(canceled: true)));

        network.Predict(0, sample, found);
        Assert.That(found, Is.EqualTo(expected));
    }

    private static Dictionary<string, float[]> Text(Graph graph) => new() { ["text"] = RandomModel.Normal(new Random(17), (int)graph.Inputs["text"].Shape.Elements) };

    private IReadOnlyDictionary<string, float[]> Run(Graph graph, ModelWeights weights, Dictionary<string, float[]> inputs, ComputeDevice? device)
    {
        using LoadedNetwork loaded = new(graph, weights, device, Pool);
        return loaded.Network.Run(inputs);
    }

    private static TestCaseData Case(string layer, LayerPrecision? precision, Func<GraphBuilder, Node, Node> write)
    {
        GraphBuilder g = new();
        g.Input("timestep", new(2), Dependence.Timestep);
        g.Output("out", write(g, g.Input("x", new(2, 12, 5, 7), Dependence.Sample)));
        Graph graph = g.Build();
        // Groups and splits are for layers of all twelve channels.
        return new TestCaseData(graph, RandomModel.Weights(graph, 1, _ => precision)).SetArgDisplayNames(layer, precision?.ToString() ?? "float");
    }

    /// <summary>A compiled graph and what it needs; on the processor if there is no device.</summary>
    private sealed class LoadedNetwork : IDisposable
    {
        private readonly PackedModel _packed;
        private readonly DeviceModel? _model;

        public LoadedNetwork(Graph graph, ModelWeights weights, ComputeDevice? device, WorkerPool pool, IProgress<double>? progress = null)
        {
            _packed = new PackedModel(weights, KernelTable.Best);
            _model = device is null ? null : new DeviceModel(device, weights);
            Network = new PlannedNetwork(PlanCompiler.Compile(_packed, graph, [], 2), _packed, pool, progress, default, _model);
        }

        public PlannedNetwork Network { get; }

        public long DeviceWeightBytes => _model?.Bytes ?? 0;

        public void Dispose()
        {
            Network.Dispose();
            _model?.Dispose();
            _packed.Dispose();
        }
    }
}

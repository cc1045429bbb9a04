using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Execution;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Plan;

/// <summary>
/// Values kept as float16: layers in integers read the same codes and give the processor's result, rounded; networks stay within what rounding each value to eleven bits does. Reading and writing float16
/// is in every device's OpenCL, also where it has no arithmetic on it.
/// </summary>
[Category("Execution")]
public sealed class HalfValueTests : ModelDeviceFixture
{
    /// <summary>Of a float network's output: 2⁻¹¹ for every value on the way, which do not add up.</summary>
    private const double FloatBound = 2e-3;

    /// <summary>Of a quantized network's: a rounded value may have the next code, and codes of fewer bits are further apart.</summary>
    private const double QuantizedBound = 3e-2, FewBitsBound = 1e-1;

    private static IEnumerable<TestCaseData> QuantizedLayers() => DevicePlanTests.Layers().Where(one => ((ModelWeights)one.Arguments[1]!).QuantizedModules.Count > 0);

    [TestCaseSource(nameof(QuantizedLayers))]
    public void A_layer_in_integers_gives_the_processors_result_rounded(Graph graph, ModelWeights weights)
    {
        if (!Device.Properties.DividesCorrectly || !Device.Properties.HasDoubles) Assert.Ignore("the device rounds divisions or sums its own way");
        // So few digits that means of four are float16 too.
        float[] x = [.. RandomModel.Normal(new Random(5), (int)graph.Inputs["x"].Shape.Elements, 2).Select(v => MathF.Round(v * 32) / 32)];
        Dictionary<string, float[]> inputs = new() { ["x"] = x, ["timestep"] = [480, 480] };

        IntegerMatrixTests.SameBits(Run(graph, weights, inputs, ValueStorage.Half), Rounded(Run(graph, weights, inputs, null)), graph.Outputs["out"].ToString());
    }

    [Test]
    public void A_network_is_within_the_bound([Range(0, 2)] int seed, [Values] bool quantized)
    {
        Random random = new(seed);
        Graph graph = RandomNetwork.Build(random);
        ModelWeights weights = RandomModel.Weights(graph, seed, _ => quantized && random.Next(4) > 0 ? new LayerPrecision(random.Next(4, 9), 8) : null);
        Dictionary<string, float[]> inputs = new()
        {
            ["sample"] = RandomModel.Normal(random, (int)graph.Inputs["sample"].Shape.Elements),
            ["timestep"] = [.. Enumerable.Repeat(321.7f, graph.Inputs["timestep"].Shape[0])],
            ["text"] = RandomModel.Normal(new Random(17), (int)graph.Inputs["text"].Shape.Elements),
        };

        double error = Difference.Relative(Run(graph, weights, inputs, null), Run(graph, weights, inputs, ValueStorage.Half));

        TestContext.Out.WriteLine($"relative difference {error:G3}");
        using PackedModel packed = new(weights, KernelTable.Best);
        ExecutionPlan plan = PlanCompiler.Compile(packed, graph, [], 1);
        (long half, long single) = (new DeviceLayout(plan, ValueStorage.Half).ArenaBytes, new DeviceLayout(plan, ValueStorage.Single).ArenaBytes);
        Assert.That(single, Is.EqualTo(plan.ArenaBytes));
        Assert.That(half, Is.LessThan(single), "bytes of the arena");
        Assert.That(error, Is.GreaterThan(0).And.LessThan(quantized ? QuantizedBound : FloatBound), string.Join('\n', graph.Nodes));
    }

    [TestCaseSource(typeof(ModelsOnDeviceTests), nameof(ModelsOnDeviceTests.Models))]
    public void A_model_predicts_within_the_bound(string model)
    {
        using NetworkFolder folder = NetworkFolder.Open(Repository.Model(model));
        float[] expected = Predict(null, DeviceFloat.F32, out long _), single = Predict(Device, DeviceFloat.F32, out long singleBytes), found = Predict(Device, DeviceFloat.F16, out long halfBytes);

        double error = Difference.Relative(expected, found);
        TestContext.Out.WriteLine($"{model}: relative difference {error:G3} (single precision {Difference.Relative(expected, single):G3}); activations {halfBytes} of {singleBytes} bytes");
        double bound = folder.Weights.QuantizedModules.Count == 0 ? FloatBound : folder.Weights.QuantizedModules.Values.Any(m => m.WeightBits < 8 && m.Input.Bits < 8) ? FewBitsBound : QuantizedBound;
        Assert.That(error, Is.GreaterThan(0).And.LessThan(bound));
        Assert.That(halfBytes, Is.LessThan(0.9 * singleBytes), "bytes of activations, with the processor's copy for what runs there");

        float[] Predict(ComputeDevice? device, DeviceFloat values, out long bytes)
        {
            IReadOnlyDictionary<string, TensorShape> inputs = folder.Network.NativeInputs(2);
            using PreparedModel prepared = new(folder.Network, folder.Weights, device: device, values: values);
            using PlannedNetwork network = prepared.Compile(inputs, Pool);
            float[] prediction = new float[network.PredictionLength];
            network.Prepare([500.5f], inputs.Where(i => i.Key is not ("sample" or "timestep")).ToDictionary(i => i.Key, i => new float[i.Value.Elements]));
            network.Predict(0, RandomModel.Normal(new Random(1), network.SampleLength), prediction);
            bytes = network.ActivationBytes;
            PlanMemory foretold = prepared.Estimate(inputs, Pool.Threads);
            Assert.That(foretold.Activations(1), Is.InRange(0.9 * bytes - (512 << 10), bytes), "foretold, but for tables and quantizers");
            return prediction;
        }
    }

    [Test]
    public void Float16_is_chosen_where_the_device_has_it_and_refused_where_it_rounds_wrongly()
    {
        Assert.That(Device.Check.HalfFault, Is.Null);
        Assert.That((Device.Storage(DeviceFloat.F32), Device.Storage(DeviceFloat.F16)), Is.EqualTo((ValueStorage.Single, ValueStorage.Half)));
        Assert.That(Device.Storage(DeviceFloat.Auto), Is.EqualTo(Device.Properties.Extensions.Contains("cl_khr_fp16") ? ValueStorage.Half : ValueStorage.Single));

        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.MoreExtensions = "cl_khr_fp16";
        using (ComputeDevice has = ComputeDevice.Open(OpenClDevice.All(api, out _)[0], null)) Assert.That(has.Storage(DeviceFloat.Auto), Is.EqualTo(ValueStorage.Half));

        api.Source = text => text.Replace("vstore_half_rte", "vstore_half_rtz", StringComparison.Ordinal);
        using ComputeDevice cuts = ComputeDevice.Open(OpenClDevice.All(api, out _)[0], null);
        Assert.That(cuts.Storage(DeviceFloat.Auto), Is.EqualTo(ValueStorage.Single));
        Assert.That(() => cuts.Storage(DeviceFloat.F16), Throws.TypeOf<DeviceException>().With.Message.Contains("is written as float16"));
    }

    private static float[] Rounded(float[] numbers) => ValueStorage.Half.Numbers(ValueStorage.Half.Stored(numbers));

    private float[] Run(Graph graph, ModelWeights weights, Dictionary<string, float[]> inputs, ValueStorage? onDevice)
    {
        using PackedModel packed = new(weights, KernelTable.Best);
        using DeviceModel? model = onDevice is { } values ? new(Device, weights, values) : null;
        using PlannedNetwork network = new(PlanCompiler.Compile(packed, graph, [], 2), packed, Pool, null, default, model);
        return network.Run(inputs).Values.Single();
    }
}

using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Tests.Attention;
using LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Tests.Convolution;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Execution;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Oclgrind;

/// <summary>
/// Every kernel once on as little data as shows its edges: small enough for a simulator. <see cref="OclgrindTests"/> runs each of these in a process of its own whose OpenCL is oclgrind; a test opens one
/// context, since each begins oclgrind's log anew.
/// </summary>
public sealed class SimulatedKernelTests
{
    internal const string ControlCategory = "SimulatedControl", Variable = "LBD_TEST_OCLGRIND";

    [OneTimeSetUp]
    public void Simulated()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 }) Assert.That(TestDevice.Device.Name, Does.Contain("Oclgrind"), "the device of this process");
    }

    [Test, Category(nameof(Integer_layers))]
    public void Integer_layers()
    {
        using DeviceBench bench = new();
        foreach (CodeRange codes in (CodeRange[])[CodeRange.Full, CodeRange.FourBit])
        {
            foreach (bool local in (bool[])[false, true]) IntegerLayers(bench, local, codes);
        }

        foreach (bool bf16 in (bool[])[false, true])
        {
            if (!bf16 || Bf16Attention.IsSupported) PackedAttentionTests.AreTheSameBits(bench, new(1, 2, 5, 150, 5, 3), bf16, (1, 4));
        }
    }

    private static void IntegerLayers(DeviceBench bench, bool local, CodeRange codes)
    {
        KernelChoice choice = TestDevice.Portable with { IntegerTile = local ? new(4, 2, 3, 2, true) : new(4, 3, 2, 2, false) };
        foreach (QuantizedConvCase definition in (QuantizedConvCase[])
        [
            QuantizedConvCase.Linear(7, 70, 13) with { Codes = codes },
            QuantizedConvCase.Linear(7, 12, 14) with { Name = "simulated gate", Codes = codes, Gated = true, CodesOf = Activation.None, ChannelScales = true },
            new("simulated", 5, 6) { Image = (3, 4), Kernel = (3, 3), Padding = (1, 1, 1, 1), Segments = [3, 2], ZeroPoints = [0, 255], Codes = codes, Residual = true, OutputGap = 1 },
        ])
        {
            QuantizedConvProblem problem = new(definition);
            IntegerMatrixTests.SameBits(IntegerMatrixTests.Run(bench, definition, problem, choice), problem.Expected(), definition.Name);
        }
    }

    [Test, Category(nameof(A_network))]
    public void A_network()
    {
        MatrixTile tile = new(4, 2, 3, 2, true);
        using ComputeDevice device = ComputeDevice.Open(TestDevice.Device, null, new DeviceCheck(new KernelChoice(IntegerDot.Plain, tile, tile), [], FromCache: false));
        foreach ((bool quantized, ValueStorage values) in ((bool, ValueStorage)[])[(false, ValueStorage.Single), (true, ValueStorage.Single), (false, ValueStorage.Half)])
        {
            device.OutOfOrder = values == ValueStorage.Half && device.Properties.HasOutOfOrderQueues;
            Network(device, quantized, values);
        }
    }

    private static void Network(ComputeDevice device, bool quantized, ValueStorage values)
    {
        GraphBuilder g = new();
        Node x = g.Input("x", new(1, 3, 4, 6), Dependence.Sample), timestep = g.Input("timestep", new(1), Dependence.Timestep);
        Node time = g.Linear("time", g.Silu(g.TimestepEmbedding(timestep, 4, true, 0)), 8);
        Node h = g.Conv2d("in", x, 4, 3), skip = h;
        h = g.Add(g.Conv2d("conv", g.Silu(g.GroupNorm("1.norm", g.Concat(h, h), 2, 1e-5f)), 8, 3), time);
        h = g.Upsample(g.AveragePool(g.Silu(h)), 4, 6);
        Node tokens = g.ToTokens(h), normed = g.LayerNorm("2.norm", tokens, 1e-5f);
        Node a = g.Linear("o", g.Attention(g.Linear("q", normed, 8), g.Linear("k", normed, 8), g.Linear("v", normed, 8), 2), 8);
        tokens = g.Add(g.Linear("ff2", g.Geglu(g.Linear("ff1", g.Modulate(g.LayerNorm("3.norm", a, 1e-6f, affine: false), time, time), 10)), 8), tokens);
        g.Output("out", g.Add(g.AveragePool(g.Conv2d("out", g.Upsample(g.ToImage(tokens, 4, 6), 8, 12), 4, 3)), skip));
        Graph graph = g.Build();
        ModelWeights weights = RandomModel.Weights(graph, 1, _ => quantized ? new LayerPrecision(4, 8) : null);
        Dictionary<string, float[]> inputs = new() { ["x"] = RandomModel.Normal(new Random(5), 72), ["timestep"] = [480] };
        using WorkerPool pool = new(1);
        using PackedModel packed = new(weights, KernelTable.Best);
        using DeviceModel model = new(device, weights, values);
        using PlannedNetwork there = new(PlanCompiler.Compile(packed, graph, [], 1), packed, pool, null, default, model), here = new(PlanCompiler.Compile(packed, graph, [], 1), packed, pool, null, default);

        float[] expected = here.Run(inputs)["out"], found = there.Run(inputs)["out"];

        Assert.That(there.HostSteps.Where(s => s.InLoop), Is.Empty);
        double error = Difference.Relative(expected, found);
        Assert.That(error, Is.LessThan(quantized || values == ValueStorage.Half ? 5e-3 : 2e-5));
    }

    [Test, Category(nameof(Elements))]
    public void Elements()
    {
        using DeviceBench bench = new();
        RowShape shape = new(1, 4, 5);
        DeviceRows x = new(bench.Of<float>([.. Enumerable.Range(0, 40).Select(i => 1f + i)]), 10, 5), y = new(bench.Of<float>([.. Enumerable.Range(0, 20).Select(i => 2f)]), 5, 5);
        DeviceRows to = new(bench.Room<float>(20), 5, 5);
        DeviceElements.Multiply(bench.Queue, shape, x, y, Broadcast.Table, to);
        DeviceElements.Divide(bench.Queue, shape, to, y.Place, to);
        DeviceElements.Affine(bench.Queue, shape, to, 2, 1, to);
        DeviceElements.Clamp(bench.Queue, shape, to, 5, 60, to);
        Assert.That(bench.Queue.Download<float>(to.Place, 6), Is.EqualTo(new float[] { 5, 5, 7, 9, 11, 23 }));

        DeviceElements.ToPixels(bench.Queue, shape, x, to);
        Assert.That(bench.Queue.Download<byte>(to.Place, 5), Is.All.EqualTo(255));
        DeviceElements.Copy(bench.Queue, shape, x, to);
        DeviceElements.Unpatchify(bench.Queue, 1, 2, 2, 2, new DeviceRows(to.Place, 20, 20), new DeviceRows(x.Place, 5, 5));
        Assert.That(bench.Queue.Download<float>(x.Place, 20), Is.EqualTo(bench.Queue.Download<float>(to.Place, 20)), "one patch of a 2×2 image is the image");
    }

    /// <summary>A kernel without its barriers, which only a process that looks for races must notice.</summary>
    [Test, Category(ControlCategory)]
    public void Control()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.Source = text => text.Replace("barrier(CLK_LOCAL_MEM_FENCE);", "", StringComparison.Ordinal);
        using OpenClContext context = new(OpenClDevice.All(api, out _)[0]);
        using DeviceQueue queue = context.CreateQueue();
        using DeviceBuffer buffer = context.Allocate(1024);
        queue.Upload<float>(buffer.At(0), new float[128]);
        DeviceNormalization.LayerNorm(queue, 2, new DeviceRows(buffer.At(0), 40, 40), 1e-5f, buffer.At(512), buffer.At(768));
        queue.Wait();
    }
}

using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.OpenCL.Checking;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Models;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Tests.Execution;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Plan;

/// <summary>Steps that wait for nothing but what they need: any order that heeds this gives the same bits, and so does a queue without an order.</summary>
[Category("Execution")]
public sealed class OutOfOrderTests : ModelDeviceFixture
{
    [TearDown]
    public void Reset() => Device.OutOfOrder = false;

    // On the processor, one step after the other, so that it is certain in which order.
    [Test]
    public void Any_order_that_heeds_what_steps_wait_for_gives_the_same_bits([Range(0, 7)] int seed)
    {
        (Graph graph, ModelWeights weights, Dictionary<string, float[]> inputs) = Network(seed);
        using PackedModel packed = new(weights, KernelTable.Best);
        ExecutionPlan plan = PlanCompiler.Compile(packed, graph, [], 2);
        StepOrder order = new(plan, new DeviceLayout(plan, ValueStorage.Single));
        float[] expected = Run(plan, packed, inputs);

        Random random = new(seed);
        for (int i = 0; i < 10; i++) IntegerMatrixTests.SameBits(Run(Shuffled(plan, order, random), packed, inputs), expected, $"order {i}");
        Assert.That(Run(Shuffled(plan, null, new Random(seed)), packed, inputs), Is.Not.EqualTo(expected), "an order that heeds nothing is noticed");
    }

    [Test]
    public void Projections_of_one_input_do_not_wait_for_each_other()
    {
        GraphBuilder g = new();
        g.Input("timestep", new(1), Dependence.Timestep);
        Node tokens = g.ToTokens(g.Input("x", new(1, 12, 4, 4), Dependence.Sample));
        g.Output("out", g.Attention(g.Linear("q", tokens, 8), g.Linear("k", tokens, 8), g.Linear("v", tokens, 8), 2));
        Graph graph = g.Build();
        using PackedModel packed = new(RandomModel.Weights(graph, 1, _ => null), KernelTable.Best);
        ExecutionPlan plan = PlanCompiler.Compile(packed, graph, [], 1);
        StepOrder order = new(plan, new DeviceLayout(plan, ValueStorage.Single));
        PlanStep[] steps = plan.Steps[PlanPhase.Sample];

        Assert.That(steps.Select(s => s.Kind), Is.EqualTo(new[] { "input", "linear f32", "linear f32", "linear f32", "attention f32", "output" }));
        Assert.That(steps.Select((_, i) => order.After(PlanPhase.Sample, i).ToArray().Order()), Is.EqualTo(new int[][] { [], [0], [0], [0], [1, 2, 3], [4] }));
    }

    [Test]
    public void A_network_has_the_same_bits([Range(0, 1)] int seed, [Values] ValueStorage values)
    {
        RequireQueues();
        (Graph graph, ModelWeights weights, Dictionary<string, float[]> inputs) = Network(seed);
        using PackedModel packed = new(weights, KernelTable.Best);
        ExecutionPlan plan = PlanCompiler.Compile(packed, graph, [], 2);
        using DeviceModel model = new(Device, weights, values);
        float[] expected = Run(plan, packed, inputs, model);
        Device.OutOfOrder = true;

        for (int i = 0; i < 3; i++) IntegerMatrixTests.SameBits(Run(plan, packed, inputs, model), expected, $"run {i}");
    }

    [TestCase("fashion-unet-w4a8")]
    [TestCase("fashion-dit-w4a8")]
    public async Task A_model_draws_the_same_picture(string model)
    {
        RequireQueues();
        float[] expected = await DrawAsync(outOfOrder: false);

        IntegerMatrixTests.SameBits(await DrawAsync(outOfOrder: true), expected, model);

        async Task<float[]> DrawAsync(bool outOfOrder)
        {
            await using DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(Repository.Model(model), new() { Device = Device.Name, MeasureDevice = false, DeviceOutOfOrder = outOfOrder });
            return [.. (await pipeline.GenerateAsync(new() { Labels = [3], Steps = 3, Seed = 7 })).SelectMany(image => image.Sample)];
        }
    }

    [Test]
    public void A_device_without_such_queues_says_so()
    {
        ScriptedOpenCl api = ScriptedOpenCl.Create();
        api.QueueProperties = 2;
        OpenClDevice told = OpenClDevice.All(api, out _)[0];
        using ComputeDevice device = ComputeDevice.Open(told, null, new DeviceCheck(KernelChoice.Portable(told), [], FromCache: false));

        Assert.That(() => device.OutOfOrder = true, Throws.TypeOf<DeviceException>().With.Message.Contains("its queues run everything in order"));
        Assert.That(device.OutOfOrder, Is.False);
    }

    private static (Graph Graph, ModelWeights Weights, Dictionary<string, float[]> Inputs) Network(int seed)
    {
        Random random = new(seed);
        Graph graph = RandomNetwork.Build(random);
        ModelWeights weights = RandomModel.Weights(graph, seed, _ => random.Next(4) > 0 ? new LayerPrecision(random.Next(4, 9), 8) : null);
        return (graph, weights, new()
        {
            ["sample"] = RandomModel.Normal(random, (int)graph.Inputs["sample"].Shape.Elements),
            ["timestep"] = [.. Enumerable.Repeat(321f, graph.Inputs["timestep"].Shape[0])],
            ["text"] = RandomModel.Normal(new Random(17), (int)graph.Inputs["text"].Shape.Elements),
        });
    }

    // Steps picked at random among those whose predecessors are done; without an order, among all.
    private static ExecutionPlan Shuffled(ExecutionPlan plan, StepOrder? order, Random random)
    {
        Dictionary<PlanPhase, PlanStep[]> shuffled = [];
        foreach ((PlanPhase phase, PlanStep[] steps) in plan.Steps)
        {
            List<int> left = [.. Enumerable.Range(0, steps.Length)], done = [];
            while (left.Count > 0)
            {
                int[] ready = [.. left.Where(i => order is null || order.After(phase, i).ToArray().All(done.Contains))];
                int next = ready[random.Next(ready.Length)];
                left.Remove(next);
                done.Add(next);
            }

            shuffled.Add(phase, [.. done.Select(i => steps[i])]);
        }

        return new ExecutionPlan
        {
            Steps = shuffled,
            Quantizers = plan.Quantizers,
            ArenaBytes = plan.ArenaBytes,
            RequestBytes = plan.RequestBytes,
            StepBytes = plan.StepBytes,
            Inputs = plan.Inputs,
            Outputs = plan.Outputs,
        };
    }

    private void RequireQueues()
    {
        if (!Device.Properties.HasOutOfOrderQueues) Assert.Ignore("the device's queues run everything in order");
    }

    private float[] Run(ExecutionPlan plan, PackedModel packed, Dictionary<string, float[]> inputs, DeviceModel? model = null)
    {
        using PlannedNetwork network = new(plan, packed, Pool, null, default, model);
        return network.Run(inputs).Values.Single();
    }
}

using LowBitDiffusion.Execution;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Autograd;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>The layers of written networks as plans run them, beside their simulation in float; <see cref="Agreement"/> compares whole networks with the reference arithmetic.</summary>
internal static class Simulation
{
    /// <summary>
    /// Every layer of a file computes in integers, at every timestep it has scales for, what its simulation computes from the same input, which reaches beyond the quantizer's range: within 1e-5 of the largest
    /// result, because sums of floats are rounded and sums of integers are not. Layers are compared one by one, because a single code that falls
    /// on the other side of a tie grows through a network of dozens of layers until it is as large as the error of quantization.
    /// </summary>
    /// <param name="plain">The float model's folder.</param>
    /// <param name="low">The quantized one's.</param>
    /// <param name="component">Which of its networks; null for the denoiser.</param>
    public static void LayersEqualIntegers(string plain, string low, string? component = null)
    {
        using SourceModel integers = SourceModel.Open(low, component: component), floats = SourceModel.Open(plain, component: component);
        IReadOnlyDictionary<string, QuantizedModule> modules = integers.Weights.QuantizedModules;
        Graph graph = Alone(integers.Graph, modules.Keys);
        TrainingModel simulated = new(floats.Weights);
        foreach ((string name, QuantizedModule module) in modules) simulated.Layers.Add(name, FakeQuantizedLayer.Frozen(module));
        using PackedModel packed = new(integers.Weights, KernelTable.Best);
        using PlannedNetwork network = new(PlanCompiler.Compile(packed, graph, [], integers.Pool.Threads), packed, integers.Pool, null, CancellationToken.None);
        foreach (float timestep in modules.Values.First().Input.Timesteps.ToArray())
        {
            Random random = new(3);
            Dictionary<string, float[]> inputs = graph.Inputs.ToDictionary(
                input => input.Key,
                input => modules.TryGetValue(input.Key, out QuantizedModule? module) ? Networks.Normal(random, input.Value.Shape.Elements, 0.3 * (1 << module.Input.Bits) * module.Input.At(timestep, 0).Scale) : [timestep]);
            IReadOnlyDictionary<string, float[]> expected = new GradientExecutor(simulated, integers.Pool).Predict(graph, inputs, new RunSettings { Timesteps = [timestep] }), found = network.Run(inputs);
            foreach (string module in modules.Keys) Close.RelativeToMax(found[module], expected[module], 1e-5, $"{module} at timestep {timestep}");
        }
    }

    /// <summary>The layers of a network side by side, each with an input and an output of its own name.</summary>
    private static Graph Alone(Graph network, IEnumerable<string> modules)
    {
        const int side = 6, tokens = 5;
        GraphBuilder g = new();
        g.Input("timestep", new TensorShape(1), Dependence.Timestep);
        Dictionary<string, MatrixOp> layers = network.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module).ToDictionary(op => op.Module);
        foreach (string name in modules)
        {
            g.Output(name, layers[name] switch
            {
                Conv2dOp conv => g.Conv2d(name, g.Input(name, new TensorShape(1, conv.InChannels, side, side), Dependence.Sample), conv.OutChannels, conv.Kernel, conv.Stride, conv.Padding, conv.HasBias),
                LinearOp linear => g.Linear(name, g.Input(name, new TensorShape(1, tokens, linear.InFeatures), Dependence.Sample), linear.OutFeatures, linear.HasBias),
                MatrixOp other => throw new NotSupportedException($"{other}"),
            });
        }

        return g.Build();
    }
}

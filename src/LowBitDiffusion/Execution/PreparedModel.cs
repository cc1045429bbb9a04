using LowBitDiffusion.Execution.Devices;
using LowBitDiffusion.Execution.Planning;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Execution;

/// <summary>
/// A network with its weights packed for this machine, from which planned networks of any batch and size are compiled; all share the weights. Thread-safe.
/// </summary>
public sealed class PreparedModel : IDisposable
{
    private readonly PackedModel _packed;
    private readonly ModelWeights _weights;
    private readonly DeviceModel? _onDevice;

    /// <summary>Prepares a network. Weights are read and packed when the first plan asks for them.</summary>
    /// <param name="network">The architecture.</param>
    /// <param name="weights">Its parameters; must stay usable until the first plan of each part is compiled.</param>
    /// <param name="kernels">Kernels to use; null for the fastest that this machine has.</param>
    /// <param name="device">Where it runs; null for the processor.</param>
    /// <param name="values">How a device keeps values between kernels.</param>
    /// <exception cref="DeviceException">The device cannot keep values so.</exception>
    public PreparedModel(INetwork network, ModelWeights weights, KernelTable? kernels = null, ComputeDevice? device = null, DeviceFloat values = DeviceFloat.F32)
    {
        Network = network;
        _weights = weights;
        _onDevice = device is null ? null : new DeviceModel(device, weights, device.Storage(values));
        _packed = new PackedModel(weights, kernels ?? KernelTable.Best);
    }

    /// <summary>The architecture.</summary>
    public INetwork Network { get; }

    /// <summary>Bytes of packed weights.</summary>
    public long WeightBytes => _packed.Bytes + (_onDevice?.Bytes ?? 0);

    /// <summary>Compiles the network for a set of input shapes.</summary>
    /// <param name="inputs">Shapes by input name.</param>
    /// <param name="pool">Threads that will run it.</param>
    /// <param name="observe">Chooses nodes whose values <see cref="PlannedNetwork.Observer"/> sees; they are not fused away.</param>
    /// <param name="outputs">The outputs that are wanted; null for all.</param>
    /// <param name="progress">Share of the weights that is packed, 0 to 1; nothing is left to pack for a second plan.</param>
    /// <param name="cancellationToken">Checked between modules.</param>
    /// <exception cref="GraphException">The shapes do not fit the network.</exception>
    /// <exception cref="ModelFormatException">A weight is missing or damaged.</exception>
    public PlannedNetwork Compile(
        IReadOnlyDictionary<string, TensorShape> inputs, WorkerPool pool, Func<Graph, IEnumerable<Node>>? observe = null, IReadOnlyList<string>? outputs = null, IProgress<double>? progress = null,
        CancellationToken cancellationToken = default)
    {
        Graph graph = Build(inputs, outputs);
        return new PlannedNetwork(PlanCompiler.Compile(_packed, graph, observe?.Invoke(graph) ?? [], pool.Threads), _packed, pool, progress, cancellationToken, _onDevice);
    }

    /// <summary>Bytes that running the network for a set of input shapes takes, without reading a weight.</summary>
    /// <param name="inputs">Shapes by input name.</param>
    /// <param name="threads">Threads that will run it.</param>
    /// <param name="outputs">The outputs that are wanted; null for all.</param>
    /// <exception cref="GraphException">The shapes do not fit the network.</exception>
    public PlanMemory Estimate(IReadOnlyDictionary<string, TensorShape> inputs, int threads, IReadOnlyList<string>? outputs = null)
    {
        Graph graph = Build(inputs, outputs);
        ExecutionPlan plan = PlanCompiler.Compile(_packed, graph, [], threads);
        if (_onDevice is null) return new PlanMemory(_packed.EstimateBytes(graph), plan.ArenaBytes, plan.RequestBytes, plan.StepBytes);

        // Steps on the processor work in a copy of the whole arena.
        int copies = DevicePlan.HostSteps(plan).Count > 0 ? 1 : 0;
        DeviceLayout there = new(plan, _onDevice.Values);
        return new PlanMemory(
            DeviceModel.EstimateBytes(graph, _weights), there.ArenaBytes + there.SlotBytes + copies * plan.ArenaBytes, there.RequestBytes + copies * plan.RequestBytes, there.StepBytes + copies * plan.StepBytes);
    }

    /// <summary>Steps that run on the processor although the network runs on a device, and how many steps there are; no weight is read.</summary>
    /// <param name="inputs">Shapes by input name.</param>
    /// <exception cref="GraphException">The shapes do not fit the network.</exception>
    public (IReadOnlyList<HostStep> OnHost, int Steps) Placement(IReadOnlyDictionary<string, TensorShape> inputs)
    {
        ExecutionPlan plan = PlanCompiler.Compile(_packed, Build(inputs, null), [], threads: 1);
        return (DevicePlan.HostSteps(plan), plan.Steps.Values.Sum(steps => steps.Length));
    }

    /// <summary>Frees the weights; planned networks must not be used afterwards.</summary>
    public void Dispose()
    {
        _packed.Dispose();
        _onDevice?.Dispose();
    }

    private Graph Build(IReadOnlyDictionary<string, TensorShape> inputs, IReadOnlyList<string>? outputs)
    {
        Graph graph = Network.Build(inputs);
        return outputs is null ? graph : graph.Select(outputs);
    }
}

/// <summary>Bytes that running a network takes.</summary>
/// <param name="Weights">Packed weights, shared by all plans of a model.</param>
/// <param name="Arena">Activations while a call runs.</param>
/// <param name="Request">What is kept for a request.</param>
/// <param name="Step">What is kept for a request for each step of the loop.</param>
public readonly record struct PlanMemory(long Weights, long Arena, long Request, long Step)
{
    /// <summary>Activations of a loop of so many steps.</summary>
    public long Activations(int steps) => Arena + Kept(steps);

    /// <summary>What is kept between the calls of a loop of so many steps.</summary>
    public long Kept(int steps) => Request + Step * Math.Max(steps, 1);
}

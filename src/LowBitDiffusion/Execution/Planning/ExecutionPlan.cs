using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>How often a part of the plan runs.</summary>
internal enum PlanPhase
{
    /// <summary>Once per request: what labels and text alone decide.</summary>
    Request,
    /// <summary>Once per step, all before the loop: what the timestep decides too.</summary>
    Timestep,
    /// <summary>In the loop: what the image decides.</summary>
    Sample,
}

/// <summary>A network compiled for one set of input shapes: steps in order for each phase, and memory laid out.</summary>
internal sealed class ExecutionPlan
{
    /// <summary>Steps of each phase.</summary>
    public required IReadOnlyDictionary<PlanPhase, PlanStep[]> Steps { get; init; }

    /// <summary>Input quantizers of each phase.</summary>
    public required IReadOnlyDictionary<PlanPhase, InputQuantizer[]> Quantizers { get; init; }

    /// <summary>Bytes that live while steps need them; one block serves all phases.</summary>
    public required long ArenaBytes { get; init; }

    /// <summary>Bytes that live for a request.</summary>
    public required long RequestBytes { get; init; }

    /// <summary>Bytes that live for a request, for each step of the loop.</summary>
    public required long StepBytes { get; init; }

    /// <summary>Inputs by name.</summary>
    public required IReadOnlyDictionary<string, Node> Inputs { get; init; }

    /// <summary>Outputs by name.</summary>
    public required IReadOnlyDictionary<string, Node> Outputs { get; init; }

    /// <summary>Names of the caller's memory: the inputs, then the outputs.</summary>
    public static string[] Slots(Graph graph) => [.. graph.Inputs.Keys, .. graph.Outputs.Keys];

    /// <summary>The phase in which a node is computed.</summary>
    public static PlanPhase PhaseOf(Node node) =>
        node.Dependence.HasFlag(Dependence.Sample) ? PlanPhase.Sample : node.Dependence.HasFlag(Dependence.Timestep) ? PlanPhase.Timestep : PlanPhase.Request;
}

using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>
/// Cuts a network into reconstruction units, by the names of its modules: a module with <c>conv1</c> and <c>conv2</c> is a ResNet block, one with <c>attn1.to_q</c> or
/// <c>self_attn.q_proj</c> a transformer block, one with <c>to_q</c> of its own an attention block. Layers that are left over are units by themselves.
/// </summary>
public static class NetworkPartition
{
    /// <summary>The units in the order in which the network computes them, the temporal one first.</summary>
    /// <param name="graph">The network.</param>
    /// <param name="separateTemporal">
    /// Whether layers that see timestep and condition alone form a unit of their own (TFMQ-DM); else each belongs to the block that holds it (Q-Diffusion), and the time embedding's layers are units.
    /// </param>
    public static IReadOnlyList<ReconstructionUnit> Of(Graph graph, bool separateTemporal = true)
    {
        HashSet<Node> temporal = separateTemporal ? [.. graph.Nodes.Where(IsTemporal)] : [];
        HashSet<string> taken = [];
        List<ReconstructionUnit> units = [];
        foreach ((string name, Node output, UnitKind kind) in Blocks(graph))
        {
            int first = graph.Nodes.First(node => node.Op is ModuleOp op && op.Module.StartsWith($"{name}.", StringComparison.Ordinal) && !temporal.Contains(node)).Id;
            Add(Unit(name, kind, Cone(output, node => node.Id >= first && !temporal.Contains(node)), [output]));
        }

        foreach (Node node in graph.MatrixNodes.Where(node => !temporal.Contains(node))) Add(Unit(((MatrixOp)node.Op).Module, UnitKind.Layer, [node], [node]));
        units.Sort((a, b) => a.Outputs[0].Id.CompareTo(b.Outputs[0].Id));
        if (temporal.Any(node => node.Op is MatrixOp))
        {
            Node[] outputs = [.. graph.Nodes.Where(node => !temporal.Contains(node)).SelectMany(node => node.Inputs).Where(temporal.Contains).Distinct().OrderBy(node => node.Id)];
            units.Insert(0, Unit("temporal", UnitKind.Temporal, temporal, outputs));
        }

        return units;

        void Add(ReconstructionUnit unit)
        {
            if (unit.Modules.Any(taken.Contains)) return;
            taken.UnionWith(unit.Modules);
            units.Add(unit);
        }
    }

    /// <summary>Ends of units, for checkpoints of a pass over the whole network.</summary>
    public static IReadOnlyList<Node> Checkpoints(Graph graph) => [.. Of(graph).Where(unit => unit.Kind is not (UnitKind.Temporal or UnitKind.Layer)).Select(unit => unit.Outputs[0])];

    private static bool IsTemporal(Node node) => node.Dependence.HasFlag(Dependence.Timestep) && !node.Dependence.HasFlag(Dependence.Sample) && node.Op is not InputOp;

    private static IEnumerable<(string Name, Node Output, UnitKind Kind)> Blocks(Graph graph)
    {
        HashSet<string> modules = [.. graph.Nodes.Select(node => node.Op).OfType<ModuleOp>().Select(op => op.Module)];
        HashSet<string> transformers = [.. graph.Taps.Keys.Where(name => modules.Contains($"{name}.attn1.to_q"))];
        foreach ((string name, Node output) in graph.Taps)
        {
            if (modules.Contains($"{name}.conv1") && modules.Contains($"{name}.conv2"))
                yield return (name, output, UnitKind.ResnetBlock);
            else if (transformers.Contains(name))
                yield return (name, output, modules.Contains($"{name}.norm1.linear") || modules.Contains($"{name}.scale_shift_table") ? UnitKind.DitBlock : UnitKind.TransformerBlock);
            else if (modules.Contains($"{name}.self_attn.q_proj"))
                yield return (name, output, UnitKind.TransformerBlock);
            else if (modules.Contains($"{name}.to_q") && !transformers.Any(transformer => name.StartsWith($"{transformer}.", StringComparison.Ordinal)))
                yield return (name, output, UnitKind.AttentionBlock);
        }
    }

    /// <summary>Nodes that a value is computed from, as far back as they belong.</summary>
    private static HashSet<Node> Cone(Node output, Predicate<Node> belongs)
    {
        HashSet<Node> cone = [];
        Stack<Node> open = new([output]);
        while (open.TryPop(out Node? node))
        {
            if (!belongs(node) || !cone.Add(node)) continue;
            foreach (Node input in node.Inputs) open.Push(input);
        }

        return cone;
    }

    private static ReconstructionUnit Unit(string name, UnitKind kind, IReadOnlySet<Node> nodes, IReadOnlyList<Node> outputs)
    {
        Node[] ordered = [.. nodes.OrderBy(node => node.Id)], matrices = [.. ordered.Where(node => node.Op is MatrixOp)];
        return new ReconstructionUnit(
            name, kind, [.. matrices.Select(node => ((MatrixOp)node.Op).Module).Distinct()],
            [.. ordered.SelectMany(node => node.Inputs).Where(input => !nodes.Contains(input) && input.Dependence != Dependence.None).Distinct()],
            outputs, matrices.Sum(node => node.Shape.Elements * ((MatrixOp)node.Op).WeightShape.Elements / node.Shape.Channels));
    }

    private static ReconstructionUnit Unit(string name, UnitKind kind, Node[] nodes, IReadOnlyList<Node> outputs) => Unit(name, kind, nodes.ToHashSet(), outputs);
}

namespace LowBitDiffusion.Graphs;

/// <summary>What a value varies with while images are drawn. What does not vary with the sample is computed before the loop.</summary>
[Flags]
public enum Dependence
{
    /// <summary>The model alone.</summary>
    None = 0,
    /// <summary>The request: labels, text.</summary>
    Condition = 1,
    /// <summary>The timestep.</summary>
    Timestep = 2,
    /// <summary>The image being drawn.</summary>
    Sample = 4,
}

/// <summary>One value of a graph: the output of one node. Compared by identity.</summary>
public sealed class Node
{
    internal Node(int id, Op op, TensorShape shape, Node[] inputs, Dependence dependence)
    {
        Id = id;
        Op = op;
        Shape = shape;
        Inputs = inputs;
        Dependence = dependence;
    }

    /// <summary>Position in the graph's order: inputs of a node come before it.</summary>
    public int Id { get; }

    /// <summary>What is computed.</summary>
    public Op Op { get; }

    /// <summary>Shape of the result.</summary>
    public TensorShape Shape { get; }

    /// <summary>Operands, in the op's order.</summary>
    public IReadOnlyList<Node> Inputs { get; }

    /// <summary>What the result varies with: the union over its inputs.</summary>
    public Dependence Dependence { get; }

    /// <inheritdoc/>
    public override string ToString() => $"%{Id} {Op} {Shape}";
}

/// <summary>A network for one set of input shapes: nodes in an order in which they can be computed, with named inputs, outputs and taps.</summary>
public sealed class Graph
{
    internal Graph(Node[] nodes, Dictionary<string, Node> inputs, Dictionary<string, Node> outputs, Dictionary<string, Node> taps)
    {
        Nodes = nodes;
        Inputs = inputs;
        Outputs = outputs;
        Taps = taps;
    }

    /// <summary>The part of the graph that some outputs need: of a decoder without its encoder, of a text encoder without its last layer.</summary>
    /// <exception cref="GraphException">There is no such output.</exception>
    public Graph Select(params IReadOnlyList<string> outputs)
    {
        HashSet<Node> needed = [];
        Stack<Node> open = [];
        foreach (string output in outputs)
            open.Push(Outputs.TryGetValue(output, out Node? node) ? node : throw new GraphException(output, $"no such output; there are {string.Join(", ", Outputs.Keys)}"));
        while (open.TryPop(out Node? node))
        {
            if (!needed.Add(node)) continue;
            foreach (Node input in node.Inputs) open.Push(input);
        }

        Dictionary<string, Node> Kept(IReadOnlyDictionary<string, Node> named) => named.Where(pair => needed.Contains(pair.Value)).ToDictionary();
        return new Graph([.. Nodes.Where(needed.Contains)], Kept(Inputs), outputs.ToDictionary(output => output, output => Outputs[output]), Kept(Taps));
    }

    /// <summary>All nodes, operands first.</summary>
    public IReadOnlyList<Node> Nodes { get; }

    /// <summary>Values given from outside, by name.</summary>
    public IReadOnlyDictionary<string, Node> Inputs { get; }

    /// <summary>Results by name.</summary>
    public IReadOnlyDictionary<string, Node> Outputs { get; }

    /// <summary>Outputs of modules by the module's name (<c>down_blocks.0.resnets.1</c>), for looking inside.</summary>
    public IReadOnlyDictionary<string, Node> Taps { get; }

    /// <summary>Every stored tensor the network reads, each once.</summary>
    public IEnumerable<Parameter> Parameters => Nodes.Select(n => n.Op).OfType<ModuleOp>().SelectMany(op => op.Parameters).DistinctBy(p => p.Name);

    /// <summary>Nodes with a weight matrix.</summary>
    public IEnumerable<Node> MatrixNodes => Nodes.Where(n => n.Op is MatrixOp);
}

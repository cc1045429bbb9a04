using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Autograd.Operations;

namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>
/// Values of one forward pass, and the backward pass over them. Nodes are in the graph's order, cut into segments:
/// <code>
///   forward    segment 0 │ segment 1 │ … │ last         between segments only the values that later ones read are kept
///   backward   ◄─────────── segment by segment, from the last; all but the last are first computed again from what was kept
/// </code>
/// </summary>
public sealed class Tape
{
    private readonly OperationContext _context;
    private readonly RunSettings _settings;
    private readonly HashSet<Node> _targets;
    private readonly Dictionary<Node, float[]> _values;
    private readonly HashSet<Node> _given;
    private readonly List<Node[]> _segments = [];
    private readonly Dictionary<Node, int> _lastUse = [];

    internal Tape(TrainingModel model, WorkerPool pool, IReadOnlyDictionary<Node, float[]> given, IReadOnlyCollection<Node> targets, RunSettings settings)
    {
        _context = new OperationContext(model, pool, settings);
        _settings = settings;
        _targets = [.. targets];
        _values = new Dictionary<Node, float[]>(given);
        _given = [.. given.Keys];
        Segment(Needed());
    }

    /// <summary>A value that was asked for or given, as rows of channels; must not be written to.</summary>
    /// <exception cref="KeyNotFoundException">The value was neither.</exception>
    public float[] this[Node node] => _values[node];

    /// <summary>Elements of all values that are kept now.</summary>
    internal long KeptElements => _values.Values.Sum(value => (long)value.Length);

    internal void Forward(CancellationToken cancellationToken)
    {
        for (int i = 0; i < _segments.Count; i++)
        {
            foreach (Node node in _segments[i])
            {
                cancellationToken.ThrowIfCancellationRequested();
                Compute(node);
                if (!_settings.Record) Release(node.Inputs, value => _lastUse[value] == node.Id);
            }

            // The last segment's values are needed at once, by the backward pass that begins there.
            if (_settings.Record && i < _segments.Count - 1) ReleaseInner(i);
        }
    }

    /// <summary>Adds the gradients of all trainable variables to <see cref="Variable.Gradient"/>. May be called once.</summary>
    /// <param name="upstream">Gradient of each target that has one, as rows of channels.</param>
    /// <param name="wanted">Values (inputs, or nodes in between) whose gradients are returned.</param>
    /// <param name="cancellationToken">Checked before each node.</param>
    /// <returns>Gradients of the wanted values, as rows of channels; zero where nothing depends on one.</returns>
    /// <exception cref="InvalidOperationException">The pass was not recorded.</exception>
    public IReadOnlyDictionary<Node, float[]> Backward(IReadOnlyDictionary<Node, float[]> upstream, IReadOnlyCollection<Node>? wanted = null, CancellationToken cancellationToken = default)
    {
        if (!_settings.Record) throw new InvalidOperationException("the forward pass was run without recording");
        HashSet<Node> returned = [.. wanted ?? []], differentiable = Differentiable(returned);
        Dictionary<Node, float[]> gradients = [];
        foreach ((Node node, float[] gradient) in upstream)
        {
            if (gradient.Length != node.Shape.Elements) throw new ArgumentException($"{node} has {node.Shape.Elements} elements, found a gradient of {gradient.Length}", nameof(upstream));
            Accumulate(gradients, node, gradient);
        }

        for (int i = _segments.Count - 1; i >= 0; i--)
        {
            foreach (Node node in _segments[i])
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (!_values.ContainsKey(node)) Compute(node);
            }

            foreach (Node node in _segments[i].Reverse())
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (!differentiable.Contains(node) || !gradients.TryGetValue(node, out float[]? gradient)) continue;
                Propagate(node, gradient, differentiable, gradients);
                if (!returned.Contains(node)) gradients.Remove(node);
            }

            ReleaseInner(i);
        }

        return returned.ToDictionary(node => node, node => gradients.GetValueOrDefault(node) ?? new float[node.Shape.Elements]);
    }

    private void Compute(Node node)
    {
        float[] value = Operation.Of(node).Forward(_context, [.. node.Inputs.Select(input => _values[input])]);
        if (value.Length != node.Shape.Elements) throw new InvalidOperationException($"{node} computed {value.Length} elements");
        _values[node] = value;
    }

    private void Propagate(Node node, float[] gradient, HashSet<Node> differentiable, Dictionary<Node, float[]> gradients)
    {
        bool[] wanted = [.. node.Inputs.Select(differentiable.Contains)];
        float[]?[] inputs = Operation.Of(node).Backward(_context, [.. node.Inputs.Select(input => _values[input])], _values[node], gradient, wanted);
        for (int i = 0; i < inputs.Length; i++)
        {
            if (wanted[i] && inputs[i] is { } inputGradient) Accumulate(gradients, node.Inputs[i], inputGradient);
        }
    }

    // An operation may hand its own gradient on, so a sum goes into an array of its own.
    private void Accumulate(Dictionary<Node, float[]> gradients, Node node, float[] gradient) =>
        gradients[node] = gradients.TryGetValue(node, out float[]? known) ? _context.Pool.Map(known, gradient, null, new Sum()) : gradient;

    /// <summary>Nodes that something to learn, or a value whose gradient is wanted, flows into.</summary>
    private HashSet<Node> Differentiable(HashSet<Node> wanted)
    {
        HashSet<Node> differentiable = [.. wanted];
        foreach (Node node in _segments.SelectMany(segment => segment))
        {
            if (_context.Model.Learns(node.Op) || node.Inputs.Any(differentiable.Contains)) differentiable.Add(node);
        }

        return differentiable;
    }

    private List<Node> Needed()
    {
        HashSet<Node> seen = [.. _given];
        List<Node> needed = [];
        Stack<Node> open = new(_targets);
        while (open.TryPop(out Node? node))
        {
            if (!seen.Add(node)) continue;
            needed.Add(node);
            foreach (Node input in node.Inputs) open.Push(input);
        }

        needed.Sort((a, b) => a.Id.CompareTo(b.Id));
        return needed;
    }

    private void Segment(List<Node> needed)
    {
        int[] ends = [.. _settings.Checkpoints.Select(node => node.Id).Order()];
        List<Node> segment = [];
        int end = 0;
        foreach (Node node in needed)
        {
            for (; end < ends.Length && node.Id > ends[end]; end++)
            {
                if (segment.Count > 0) _segments.Add([.. segment]);
                segment.Clear();
            }

            segment.Add(node);
            foreach (Node input in node.Inputs) _lastUse[input] = node.Id;
        }

        if (segment.Count > 0) _segments.Add([.. segment]);
    }

    /// <summary>Frees a segment's values that no later segment reads.</summary>
    private void ReleaseInner(int segment)
    {
        int last = _segments[segment][^1].Id;
        Release(_segments[segment], value => !_lastUse.TryGetValue(value, out int use) || use <= last);
    }

    private void Release(IEnumerable<Node> values, Func<Node, bool> unneeded)
    {
        foreach (Node value in values)
        {
            if (!_targets.Contains(value) && !_given.Contains(value) && unneeded(value)) _values.Remove(value);
        }
    }
}

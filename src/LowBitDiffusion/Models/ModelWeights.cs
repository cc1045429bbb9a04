using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Models;

/// <summary>
/// A network's parameters: looked up under their name or an old one, checked against the shape the network expects, read when first asked for. Executors of any number
/// and thread share one instance; an array is shared while anybody holds it and read again afterwards, so that weights that a plan has packed do not stay in memory twice.
/// </summary>
public sealed class ModelWeights
{
    private readonly INetwork? _network;
    private readonly ITensorSource _source;
    private readonly IReadOnlyDictionary<string, QuantizedModule> _quantized;
    private readonly Dictionary<string, WeakReference<float[]>> _loaded = [];
    private readonly Lock _lock = new();

    /// <summary>Creates the set; nothing is read yet.</summary>
    /// <param name="source">Where the tensors are. Stays the caller's, who disposes it after the last use of this object.</param>
    /// <param name="network">Knows old names of its parameters; null for a source without such names.</param>
    /// <param name="quantized">Modules that run in integers, by name; they replace what the source has under these names.</param>
    /// <param name="attention">How attentions are computed.</param>
    public ModelWeights(
        ITensorSource source, INetwork? network = null, IReadOnlyDictionary<string, QuantizedModule>? quantized = null, AttentionPrecision attention = AttentionPrecision.Float)
    {
        Attention = attention;
        _network = network;
        _source = source;
        _quantized = quantized ?? new Dictionary<string, QuantizedModule>();
    }

    /// <summary>Where the tensors come from, for messages.</summary>
    public string Origin => _source.Origin;

    /// <summary>Every module that runs in integers, by name.</summary>
    public IReadOnlyDictionary<string, QuantizedModule> QuantizedModules => _quantized;

    /// <summary>How attentions are computed.</summary>
    public AttentionPrecision Attention { get; }

    /// <summary>The same tensors with other modules in integers.</summary>
    public ModelWeights With(IReadOnlyDictionary<string, QuantizedModule> quantized, AttentionPrecision attention = AttentionPrecision.Float) =>
        new(_source, _network, quantized, attention);

    /// <summary>How an attention is computed: those that are causal or have a mask always in float.</summary>
    public AttentionPrecision AttentionOf(Node attention) => attention is { Op: AttentionOp { Causal: false }, Inputs.Count: 3 } ? Attention : AttentionPrecision.Float;

    /// <summary>The module in integers, or null if it runs in float.</summary>
    public QuantizedModule? Quantized(string module) => _quantized.GetValueOrDefault(module);

    /// <summary>A parameter's elements, row-major in the shape asked for. Shared: must not be written to.</summary>
    /// <exception cref="ModelFormatException">The tensor is missing or has another shape; the message names file, tensor, expected and found.</exception>
    public float[] Float(Parameter parameter)
    {
        lock (_lock)
        {
            if (_loaded.TryGetValue(parameter.Name, out WeakReference<float[]>? known) && known.TryGetTarget(out float[]? values)) return values;
            values = _source.ReadSingles(Find(parameter));
            _loaded[parameter.Name] = new WeakReference<float[]>(values);
            return values;
        }
    }

    /// <summary>Reads a parameter's elements into memory of the caller's.</summary>
    /// <param name="parameter">The parameter.</param>
    /// <param name="destination">Row-major in the shape asked for.</param>
    /// <exception cref="ModelFormatException">The tensor is missing or has another shape; the message names file, tensor, expected and found.</exception>
    public void Read(Parameter parameter, Span<float> destination) => _source.ReadSingles(Find(parameter), destination);

    /// <summary>Checks that every parameter of a graph is there in the right shape, without reading any: modules in integers in place of their weight and bias.</summary>
    /// <exception cref="ModelFormatException">A tensor is missing or has another shape.</exception>
    public void Check(Graph graph)
    {
        foreach (ModuleOp op in graph.Nodes.Select(node => node.Op).OfType<ModuleOp>())
        {
            if (op is MatrixOp matrix && Quantized(op.Module) is { } module)
            {
                if (!SameUpToTrailingOnes(matrix.WeightShape, [.. module.WeightShape.Select(extent => (long)extent)]))
                    throw new ModelFormatException(Origin, op.Module, $"expected codes of shape {matrix.WeightShape}, found {module.WeightShape}");
            }
            else
            {
                foreach (Parameter parameter in op.Parameters) Find(parameter);
            }
        }
    }

    private string Find(Parameter parameter)
    {
        string[] names = [parameter.Name, .. _network?.LegacyNames(parameter.Name) ?? []];
        string name = names.FirstOrDefault(_source.Tensors.ContainsKey)
            ?? throw new ModelFormatException(Origin, parameter.Name, $"expected a tensor of shape {parameter.Shape} under {(names.Length == 1 ? "this name" : $"one of the names {string.Join(", ", names)}")}, found none");
        TensorInfo info = _source.Tensors[name];
        if (!SameUpToTrailingOnes(parameter.Shape, info.Shape))
            throw new ModelFormatException(Origin, name, $"expected shape {parameter.Shape}, found [{string.Join(", ", info.Shape)}]");
        return name;
    }

    /// <summary>Linear layers <c>[out, in]</c> and 1×1 convolutions <c>[out, in, 1, 1]</c> are the same matrix; files store either.</summary>
    private static bool SameUpToTrailingOnes(TensorShape expected, IReadOnlyList<long> found)
    {
        for (int i = 0; i < Math.Max(expected.Rank, found.Count); i++)
        {
            if ((i < expected.Rank ? expected[i] : 1) != (i < found.Count ? found[i] : 1)) return false;
        }

        return true;
    }
}

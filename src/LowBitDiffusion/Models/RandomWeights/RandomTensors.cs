using System.Collections.ObjectModel;
using System.Runtime.InteropServices;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Models.RandomWeights;

/// <summary>
/// Seeded random parameters of a network, each made when it is read, so that the largest models need no disk. They are scaled so that signals keep their size through any depth:
/// weights of matrices have variance 1 / (inputs of an output), the last matrix of a residual branch 0.3² of that, norms multiply by 1 and add 0. The same seed and name give the
/// same values whatever else is read. Safe for concurrent reads.
/// </summary>
public sealed class RandomTensors : ITensorSource
{
    private const float BranchEnd = 0.3f, Bias = 0.02f, Embedding = 0.5f;

    // What a residual branch ends with, under diffusers' names: residual blocks, attention, feed-forward and the transformer around them, CLIP's two.
    private static readonly string[] s_branchEnds = [".conv2", ".to_out.0", ".ff.net.2", ".proj_out", ".self_attn.out_proj", ".mlp.fc2"];

    private readonly Dictionary<string, ModuleOp> _owners = [];
    private readonly int _seed;

    /// <summary>Creates the parameters of a network.</summary>
    /// <param name="graph">The network, at any size.</param>
    /// <param name="seed">Seed.</param>
    /// <param name="origin">What messages call them.</param>
    public RandomTensors(Graph graph, int seed, string origin = "random weights")
    {
        (Origin, _seed) = (origin, seed);
        Dictionary<string, TensorInfo> tensors = [];
        foreach (ModuleOp op in graph.Nodes.Select(node => node.Op).OfType<ModuleOp>())
        {
            foreach (Parameter parameter in op.Parameters)
            {
                if (_owners.TryAdd(parameter.Name, op)) tensors.Add(parameter.Name, new TensorInfo(parameter.Name, DType.F32, [.. parameter.Shape.Select(extent => (long)extent)]));
            }
        }

        Tensors = new ReadOnlyDictionary<string, TensorInfo>(tensors);
    }

    /// <inheritdoc/>
    public string Origin { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <inheritdoc/>
    public byte[] ReadBytes(string name) => TensorConversion.FromSingles(DType.F32, ReadSingles(name));

    /// <inheritdoc/>
    public void ReadRange(string name, long byteOffset, Span<byte> destination)
    {
        long length = this.Find(name).ByteLength, first = byteOffset / sizeof(float);
        ArgumentOutOfRangeException.ThrowIfNegative(byteOffset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(byteOffset, length - destination.Length);
        int skipped = (int)(byteOffset - first * sizeof(float));
        float[] values = new float[(skipped + destination.Length + sizeof(float) - 1) / sizeof(float)];
        Fill(name, first, values);
        MemoryMarshal.AsBytes(values.AsSpan()).Slice(skipped, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public float[] ReadSingles(string name)
    {
        float[] values = this.Find(name).AllocateSingles(Origin);
        Fill(name, 0, values);
        return values;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private void Fill(string name, long first, Span<float> values)
    {
        bool weight = name.EndsWith(".weight", StringComparison.Ordinal);
        switch (_owners[name])
        {
            case GroupNormOp or LayerNormOp:
                values.Fill(weight ? 1 : 0);
                break;
            case MatrixOp op:
                new CounterRandom(_seed, name).FillNormal(values, weight ? Deviation(op) : Bias, first);
                break;
            default:
                new CounterRandom(_seed, name).FillNormal(values, Embedding, first);
                break;
        }
    }

    /// <summary>Standard deviation of a matrix's weights.</summary>
    internal static float Deviation(MatrixOp op)
    {
        float inputs = op.WeightShape.Elements / op.WeightShape[0];
        return (s_branchEnds.Any(end => op.Module.EndsWith(end, StringComparison.Ordinal)) ? BranchEnd : 1) / MathF.Sqrt(inputs);
    }
}

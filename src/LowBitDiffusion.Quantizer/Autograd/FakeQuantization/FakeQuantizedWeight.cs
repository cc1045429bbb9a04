using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

/// <summary>
/// A weight whose quantization is simulated. Each output channel, and each group or half of its input channels, has a step d and a zero point z. An 8-bit weight is symmetric: z = 127 and codes
/// end at 254, so that centred codes <c>q − z</c> stay within ±127.
/// </summary>
public abstract class FakeQuantizedWeight
{
    private float[]? _settled;

    private protected FakeQuantizedWeight(TensorShape shape, WeightQuantizerOptions options)
    {
        (Shape, Options) = (shape, options);
        Ranges = WeightRanges.Of(shape, options);
    }

    /// <summary>Shape of the float weight.</summary>
    public TensorShape Shape { get; }

    /// <summary>Bits, groups, split.</summary>
    public WeightQuantizerOptions Options { get; }

    /// <summary>What can be learned.</summary>
    public abstract IReadOnlyList<Variable> Variables { get; }

    /// <summary>Whether the weight does not change until this is set again, so that it is computed once.</summary>
    internal bool Settled
    {
        get;
        set => (field, _settled) = (value, null);
    }

    /// <summary>The parts of the weight with a step of their own.</summary>
    internal WeightRanges Ranges { get; }

    /// <summary>The codes that <see cref="Values"/> stands for (that learned rounding decides on), for the runtime.</summary>
    public abstract QuantizedWeight Export();

    /// <summary>The weight that the layer uses, row-major; must not be written to.</summary>
    internal float[] Values(WorkerPool pool) => Settled ? _settled ??= PassMemory.Lasting(() => Forward(pool)) : Forward(pool);

    /// <summary>Computes the weight that the layer uses, row-major.</summary>
    private protected abstract float[] Forward(WorkerPool pool);

    /// <summary>Adds to the variables' gradients for a gradient of <see cref="Values"/>.</summary>
    internal abstract void Backward(WorkerPool pool, float[] gradient);
}

/// <summary>A weight whose codes are decided.</summary>
/// <param name="weight">The codes.</param>
/// <param name="shape">Shape of the float weight.</param>
/// <param name="options">Bits, groups, split.</param>
public sealed class FrozenWeight(QuantizedWeight weight, TensorShape shape, WeightQuantizerOptions options) : FakeQuantizedWeight(shape, options)
{
    private readonly float[] _values = WeightQuantizer.Dequantize(weight, shape, options);

    /// <inheritdoc/>
    public override IReadOnlyList<Variable> Variables => [];

    /// <inheritdoc/>
    public override QuantizedWeight Export() => weight;

    private protected override float[] Forward(WorkerPool pool) => _values;

    internal override void Backward(WorkerPool pool, float[] gradient)
    {
    }
}

/// <summary>The parts of a weight <c>[N, K]</c> that have a step of their own: rows × ranges of K, in the order of the scales <c>[N, G]</c>.</summary>
internal sealed class WeightRanges
{
    private readonly (int Start, int Count)[] _columns;
    private readonly int _depth;

    private WeightRanges((int, int)[] columns, int rows, int depth) => (_columns, Rows, _depth) = (columns, rows, depth);

    public int Rows { get; }

    /// <summary>How many there are: N·G.</summary>
    public int Count => Rows * _columns.Length;

    public static WeightRanges Of(TensorShape shape, WeightQuantizerOptions options) =>
        new(WeightQuantizer.Ranges(shape, options), shape[0], (int)(shape.Elements / shape[0]));

    /// <summary>First element and length of a part.</summary>
    public (int Offset, int Count) this[int entry]
    {
        get
        {
            (int start, int count) = _columns[entry % _columns.Length];
            return (entry / _columns.Length * _depth + start, count);
        }
    }

    /// <summary>Runs a body for each part: its index, first element and length.</summary>
    public void For(WorkerPool pool, Action<int, int, int> body) => pool.Chunks(Count, Math.Max(1, Vectors.Grain * Rows / (Count * _depth)), (first, end) =>
    {
        for (int entry = first; entry < end; entry++) body(entry, this[entry].Offset, this[entry].Count);
    });

    /// <summary>Zero points as unsigned codes have them: the given ones, or 2^(bits−1) − 1 for a symmetric weight.</summary>
    public int[] ZeroPoints(QuantizedWeight weight, int bits) =>
        weight.ZeroPoints is { } stored ? Array.ConvertAll(stored, z => (int)z) : [.. Enumerable.Repeat((1 << (bits - 1)) - 1, Count)];

    /// <summary>The last unsigned code.</summary>
    public static int LastCode(WeightQuantizerOptions options) => (1 << options.Bits) - (options.Symmetric ? 2 : 1);
}

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>Watches one activation, batch after batch, in bounded memory, and chooses the range of its quantizer. Not thread-safe.</summary>
public abstract class RangeObserver
{
    /// <summary>Smallest and largest of all values seen, and zero.</summary>
    public ValueRange Seen { get; private set; }

    /// <summary>How many values were seen.</summary>
    public long Count { get; private set; }

    /// <summary>Creates the observer for a method.</summary>
    public static RangeObserver Create(RangeMethod method) => method switch
    {
        RangeMethod.MinMax => new MinMaxObserver(),
        RangeMethod.EmaMinMax => new EmaMinMaxObserver(),
        RangeMethod.Mse => new HistogramObserver(),
        RangeMethod.Grid => new HistogramObserver(grid: true),
        _ => throw new ArgumentOutOfRangeException(nameof(method), method, "no such range method"),
    };

    /// <summary>Takes note of a batch; an empty one changes nothing. A batch may be given in pieces between two calls of <see cref="EndBatch"/>.</summary>
    /// <exception cref="ArgumentException">A value is not finite.</exception>
    public void Observe(ReadOnlySpan<float> values)
    {
        if (values.IsEmpty) return;
        ValueRange range = ValueRange.Of(values);
        if (!float.IsFinite(range.Min) || !float.IsFinite(range.Max)) throw new ArgumentException("an activation is not finite");
        Seen = Seen.Union(range);
        Count += values.Length;
        Add(values, range);
    }

    /// <summary>Ends a batch: only a moving average cares.</summary>
    public virtual void EndBatch()
    {
    }

    /// <summary>The quantizer for what was seen; of the empty range where nothing was.</summary>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    public abstract AffineQuantizer Quantizer(int bits);

    /// <summary>Takes note of finite values with the given range, some at least.</summary>
    protected abstract void Add(ReadOnlySpan<float> values, ValueRange range);
}

/// <summary>The range from the smallest to the largest value ever seen.</summary>
public sealed class MinMaxObserver : RangeObserver
{
    /// <inheritdoc/>
    public override AffineQuantizer Quantizer(int bits) => AffineQuantizer.FromRange(Seen.Min, Seen.Max, bits);

    /// <inheritdoc/>
    protected override void Add(ReadOnlySpan<float> values, ValueRange range)
    {
    }
}

/// <summary>
/// Exponential moving average of each batch's range ("running_stat" of Q-Diffusion, used by TFMQ-DM's finite set calibration):
/// <c>min ← 0.95·min + 0.05·min(batch)</c>, the same for max, starting from the first batch's.
/// </summary>
/// <param name="decay">Weight of the past, in [0, 1).</param>
public sealed class EmaMinMaxObserver(double decay = EmaMinMaxObserver.DefaultDecay) : RangeObserver
{
    /// <summary>Weight of the past in the papers' codes.</summary>
    public const double DefaultDecay = 0.95;

    private double _min, _max;
    private bool _started;
    private ValueRange? _batch;

    /// <inheritdoc/>
    public override void EndBatch()
    {
        if (_batch is not { } batch) return;
        (_min, _max) = _started ? (decay * _min + (1 - decay) * batch.Min, decay * _max + (1 - decay) * batch.Max) : (batch.Min, batch.Max);
        _started = true;
        _batch = null;
    }

    /// <inheritdoc/>
    public override AffineQuantizer Quantizer(int bits)
    {
        EndBatch();
        return AffineQuantizer.FromRange(_min, _max, bits);
    }

    /// <inheritdoc/>
    protected override void Add(ReadOnlySpan<float> values, ValueRange range) => _batch = _batch?.Union(range) ?? range;
}

using System.Buffers;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>
/// Statistics of one module's input for every calibrated timestep, and for each half of a split concatenation: what finite set calibration (TFMQ-DM) and the
/// initial values of TALSQ (EfficientDM) and TPQ (DilateQuant) need. Memory is bounded by timesteps × halves × one observer. Not thread-safe.
/// </summary>
public sealed class ActivationRange
{
    // Values that stay in the second cache between being gathered and being counted.
    private const int GatheredAtOnce = 1 << 16;

    private readonly float[] _timesteps;
    private readonly RangeObserver[] _observers;
    private readonly float[]? _channelScales;

    /// <summary>Creates empty statistics.</summary>
    /// <param name="timesteps">Calibrated timesteps, strictly ascending.</param>
    /// <param name="method">How ranges are chosen.</param>
    /// <param name="splitChannel">First input channel of the second half; 0 for none.</param>
    /// <param name="channelScales">Divisor of each input channel before quantization (weight dilation), or null.</param>
    public ActivationRange(IReadOnlyList<float> timesteps, RangeMethod method, int splitChannel = 0, float[]? channelScales = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(splitChannel);
        _timesteps = [.. timesteps];
        SplitChannel = splitChannel;
        _channelScales = channelScales;
        _observers = [.. Enumerable.Range(0, _timesteps.Length * Segments).Select(_ => RangeObserver.Create(method))];
    }

    /// <summary>First input channel of the second half; 0 for none.</summary>
    public int SplitChannel { get; }

    /// <summary>1, or 2 for a split.</summary>
    public int Segments => SplitChannel == 0 ? 1 : 2;

    /// <summary>The statistics of one timestep and half.</summary>
    public RangeObserver this[int step, int segment] => _observers[step * Segments + segment];

    /// <summary>Takes note of the module's input for a batch.</summary>
    /// <param name="step">Index of the timestep.</param>
    /// <param name="rows">Dense rows of channels: <c>[N, H, W, C]</c>, <c>[N, L, C]</c> or <c>[N, C]</c>.</param>
    /// <param name="channels">C.</param>
    /// <exception cref="ArgumentException">The input does not divide into rows, or a value is not finite.</exception>
    public void Observe(int step, ReadOnlySpan<float> rows, int channels)
    {
        if (channels < 1 || rows.Length % channels != 0 || SplitChannel >= channels) throw new ArgumentException($"{rows.Length} values are not rows of {channels} channels that divide at {SplitChannel}");
        if (SplitChannel == 0 && _channelScales is null)
        {
            this[step, 0].Observe(rows);
        }
        else
        {
            for (int segment = 0; segment < Segments; segment++) ObserveHalf(this[step, segment], rows, channels, segment * SplitChannel, segment == Segments - 1 ? channels : SplitChannel);
        }

        for (int segment = 0; segment < Segments; segment++) this[step, segment].EndBatch();
    }

    /// <summary>The quantizers of all timesteps, searched in parallel.</summary>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    public TimestepTable ToTable(int bits)
    {
        AffineQuantizer[] quantizers = new AffineQuantizer[_observers.Length];
        Parallel.For(0, quantizers.Length, i => quantizers[i] = _observers[i].Quantizer(bits));
        return new TimestepTable(_timesteps, Array.ConvertAll(quantizers, q => q.Scale), Array.ConvertAll(quantizers, q => q.ZeroPoint), Segments, bits);
    }

    // Channels start … end − 1 of every row, as the quantizer sees them, gathered piece by piece.
    private void ObserveHalf(RangeObserver observer, ReadOnlySpan<float> rows, int channels, int start, int end)
    {
        int width = end - start, all = rows.Length / channels, most = Math.Max(1, GatheredAtOnce / width);
        float[] piece = ArrayPool<float>.Shared.Rent(Math.Min(most, all) * width);
        for (int first = 0; first < all; first += most)
        {
            int count = Math.Min(most, all - first);
            for (int row = 0; row < count; row++)
            {
                ReadOnlySpan<float> source = rows.Slice((first + row) * channels + start, width);
                Span<float> target = piece.AsSpan(row * width, width);
                if (_channelScales is null) source.CopyTo(target);
                else Vectors.Map(source, _channelScales.AsSpan(start, width), [], target, new Quotient());
            }

            observer.Observe(piece.AsSpan(0, count * width));
        }

        ArrayPool<float>.Shared.Return(piece);
    }
}

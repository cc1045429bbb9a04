using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>
/// Statistics of one module's input for every calibrated timestep, and for each half of a split concatenation: what finite set calibration (TFMQ-DM) and the
/// initial values of TALSQ (EfficientDM) and TPQ (DilateQuant) need. Memory is bounded by timesteps × halves × one observer. Not thread-safe.
/// </summary>
public sealed class ActivationRange
{
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
    /// <param name="input">Row-major, of <paramref name="shape"/>.</param>
    /// <param name="shape"><c>[N, C, H, W]</c>, <c>[N, L, C]</c> or <c>[N, C]</c>.</param>
    /// <exception cref="ArgumentException">The input is not of that shape, or a value is not finite.</exception>
    public void Observe(int step, ReadOnlySpan<float> input, TensorShape shape)
    {
        if (input.Length != shape.Elements) throw new ArgumentException($"an input of shape {shape} has {shape.Elements} elements, found {input.Length}");
        if (SplitChannel >= shape.Channels) throw new ArgumentException($"an input of shape {shape} has no channel {SplitChannel} to split at");
        if (_channelScales is not null) input = Divide(input, shape, _channelScales);

        // Consecutive elements of one half: all pixels of its channels in an image, its channels of one token else.
        int inner = shape.Rank == 4 ? shape.Positions : 1, block = shape.Channels * inner, split = SplitChannel * inner;
        if (split == 0)
        {
            this[step, 0].Observe(input);
        }
        else
        {
            for (int start = 0; start < input.Length; start += block)
            {
                this[step, 0].Observe(input.Slice(start, split));
                this[step, 1].Observe(input.Slice(start + split, block - split));
            }
        }

        for (int segment = 0; segment < Segments; segment++) this[step, segment].EndBatch();
    }

    /// <summary>The quantizers of all timesteps.</summary>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    public TimestepTable ToTable(int bits)
    {
        AffineQuantizer[] quantizers = [.. _observers.Select(o => o.Quantizer(bits))];
        return new TimestepTable(_timesteps, Array.ConvertAll(quantizers, q => q.Scale), Array.ConvertAll(quantizers, q => q.ZeroPoint), Segments, bits);
    }

    private static float[] Divide(ReadOnlySpan<float> input, TensorShape shape, float[] scales)
    {
        int inner = shape.Rank == 4 ? shape.Positions : 1;
        float[] divided = new float[input.Length];
        for (int i = 0; i < divided.Length; i++) divided[i] = input[i] / scales[i / inner % scales.Length];
        return divided;
    }
}

using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Quantization;

/// <summary>
/// A convolution or linear layer in integers: everything that is needed to run it. Codes are row-major <c>[N, K]</c> in the order of the float weight
/// (<c>[out, in, kh, kw]</c>), already centred: the zero point of an asymmetric weight is subtracted, so every code is a signed number of at most 127 in magnitude.
/// <code>w[o, k] = Scale[o, k / GroupSize]·Codes[o, k]</code>
/// </summary>
public sealed class QuantizedModule
{
    /// <summary>The module's name.</summary>
    public required string Name { get; init; }

    /// <summary>Shape of the float weight, <c>[out, in]</c> or <c>[out, in, kh, kw]</c>.</summary>
    public required TensorShape WeightShape { get; init; }

    /// <summary>Bits of a stored weight code, 2 to 8.</summary>
    public required int WeightBits { get; init; }

    /// <summary>Centred codes <c>[N, K]</c>, |code| ≤ 127; read anew at each call where they stay in a file (<see cref="CodesReader"/>).</summary>
    public sbyte[] Codes
    {
        get
        {
            if (field is not null) return field;
            if (CodesReader is not { } read) throw new InvalidOperationException($"{Name} has no codes");
            sbyte[] codes = new sbyte[WeightShape.Elements];
            read(codes);
            return codes;
        }
        init;
    }

    /// <summary>Reads all codes when they are packed, so that a model is planned without them and they never stay in memory beside their packed form.</summary>
    public Action<Span<sbyte>>? CodesReader { get; init; }

    /// <summary>Reads <see cref="Codes"/> into memory of the caller's.</summary>
    /// <param name="destination">As many codes as weights.</param>
    public void ReadCodes(Span<sbyte> destination)
    {
        if (CodesReader is { } read) read(destination);
        else Codes.CopyTo(destination);
    }

    /// <summary>Scales <c>[N, G]</c>: G = 1 per output channel, K / GroupSize with groups, 2 with a split whose halves have scales of their own.</summary>
    public required float[] WeightScales { get; init; }

    /// <summary>Zero points <c>[N, G]</c> of the stored unsigned codes, or null for a symmetric weight (stored signed for 8 bits, else offset by 2^(bits−1)).</summary>
    public byte[]? WeightZeroPoints { get; init; }

    /// <summary>Consecutive elements of K that share a scale, a multiple of kh·kw; 0 for one scale per output channel.</summary>
    public int GroupSize { get; init; }

    /// <summary>Quantizer of the layer's input.</summary>
    public required TimestepTable Input { get; init; }

    /// <summary>First input channel of the second half where the input is a concatenation with two quantizers; 0 for none.</summary>
    public int SplitChannel { get; init; }

    /// <summary>Divisor of each input channel before quantization (weight dilation, smoothing), or null.</summary>
    public float[]? InputChannelScales { get; init; }

    /// <summary>Bias <c>[N]</c>, or null.</summary>
    public float[]? Bias { get; init; }

    /// <summary>Output channels.</summary>
    public int OutChannels => WeightShape[0];

    /// <summary>Input channels.</summary>
    public int InChannels => WeightShape[1];

    /// <summary>Rows × columns of the kernel; 1 for a linear layer.</summary>
    public int Taps => WeightShape.Rank == 4 ? WeightShape[2] * WeightShape[3] : 1;

    /// <summary>Length of one output's sum.</summary>
    public int Depth => InChannels * Taps;

    /// <summary>The layer with another table for its input.</summary>
    public QuantizedModule With(TimestepTable input) => new()
    {
        Name = Name,
        WeightShape = WeightShape,
        WeightBits = WeightBits,
        CodesReader = ReadCodes,
        WeightScales = WeightScales,
        WeightZeroPoints = WeightZeroPoints,
        GroupSize = GroupSize,
        Input = input,
        SplitChannel = SplitChannel,
        InputChannelScales = InputChannelScales,
        Bias = Bias,
    };

    /// <summary>
    /// Ranges of input channels within which one scale of weight and activation holds, in order: the whole input; one per group; the two halves of a split.
    /// The integer contract sums each range in int32 and the ranges in float, in this order.
    /// </summary>
    public IReadOnlyList<ChannelSegment> Segments
    {
        get
        {
            if (GroupSize == 0)
            {
                if (SplitChannel == 0) return [new ChannelSegment(0, InChannels, 0, 0)];
                int second = WeightScales.Length / OutChannels - 1;
                return [new ChannelSegment(0, SplitChannel, 0, 0), new ChannelSegment(SplitChannel, InChannels - SplitChannel, second, 1)];
            }

            int channels = GroupSize / Taps;
            List<ChannelSegment> segments = [];
            for (int start = 0, group = 0; start < InChannels; start += channels, group++)
            {
                // A group that straddles the split is summed in two parts: its weight scale is one, its activation scales are two.
                int end = Math.Min(start + channels, InChannels);
                if (start < SplitChannel && SplitChannel < end)
                {
                    segments.Add(new ChannelSegment(start, SplitChannel - start, group, 0));
                    segments.Add(new ChannelSegment(SplitChannel, end - SplitChannel, group, 1));
                }
                else
                {
                    segments.Add(new ChannelSegment(start, end - start, group, SplitChannel > 0 && start >= SplitChannel ? 1 : 0));
                }
            }

            return segments;
        }
    }
}

/// <summary>A range of input channels with one weight scale per output channel and one activation scale.</summary>
/// <param name="Start">First channel.</param>
/// <param name="Count">How many channels.</param>
/// <param name="Group">Column of the weight scales.</param>
/// <param name="InputSegment">Column of the activation's table.</param>
public readonly record struct ChannelSegment(int Start, int Count, int Group, int InputSegment);

using LowBitDiffusion.Kernels.Convolution;

namespace LowBitDiffusion.Kernels.Checking;

/// <summary>A small integer layer whose sums a wrong kernel gets wrong, and its result by the definition.</summary>
/// <param name="Name">What it is after.</param>
/// <param name="Geometry">Shapes.</param>
/// <param name="Segments">Channels of each segment.</param>
/// <param name="Input">Input codes by position.</param>
/// <param name="Weight">Weight codes by position.</param>
/// <param name="ZeroPoints">Zero points of the two ranges.</param>
internal sealed record CheckLayer(string Name, ConvGeometry Geometry, int[] Segments, Func<int, byte> Input, Func<int, sbyte> Weight, byte[] ZeroPoints)
{
    private static readonly float[] s_scales = [0.0173f, 0.0031f];

    /// <summary>The cases: ends of all ranges, neighbours that a saturating sum would lose, sizes that fill no tile, both packings.</summary>
    public static IReadOnlyList<CheckLayer> All { get; } =
    [
        new("largest sums", ConvGeometry.Linear(9, 131, 67), [131], _ => 255, _ => 127, [0, 0]),
        new("smallest sums", ConvGeometry.Linear(9, 131, 67), [131], _ => 255, _ => -127, [255, 0]),
        new("alternating signs", ConvGeometry.Linear(5, 257, 33), [257], _ => 255, i => (sbyte)(i / 2 % 2 == 0 ? 127 : -127), [128, 0]),
        new("odd image, two ranges", new ConvGeometry(2, 7, 6, 13, 70, 3, 3, 1), [6, 7], Mixed, i => (sbyte)(Mixed(i + 5) % 255 - 127), [0, 255]),
        new("stride 2, words of four", new ConvGeometry(1, 9, 9, 36, 65, 3, 3, 2), [36], Mixed, i => (sbyte)(Mixed(i + 9) % 255 - 127), [77, 0]),
        new("four bits, ends", ConvGeometry.Linear(17, 66, 64), [66], _ => 255, i => (sbyte)(i % 2 == 0 ? -8 : 7), [255, 0]),
        new("four bits, odd image", new ConvGeometry(1, 6, 5, 10, 35, 3, 3, 1), [3, 7], Mixed, i => (sbyte)(Mixed(i + 3) % 16 - 8), [200, 3]),
        new("four bits with a zero point", ConvGeometry.Linear(11, 49, 40), [49], Mixed, i => (sbyte)(Mixed(i + 7) % 16 - 15), [90, 0]),
        new("behind an upsampling to an odd size", new ConvGeometry(2, 9, 10, 12, 33, 3, 3, 1) { Vertical = new(4, 7, 1, 1), Horizontal = new(4, 8, 1, 1) }, [8, 4], Mixed, i => (sbyte)(Mixed(i + 2) % 255 - 127), [9, 201]),
        new("many words", ConvGeometry.Linear(3, 4100, 20), [4100], Mixed, i => (sbyte)(Mixed(i + 1) % 255 - 127), [131, 0]),
    ];

    /// <summary>Segments of input channels; each has its own range of the input.</summary>
    public KernelSegment[] Ranges => [.. Segments.Select((count, s) => new KernelSegment(Segments.Take(s).Sum(), count))];

    /// <summary>Shape of the weight.</summary>
    public ConvWeightShape Shape => new(Geometry.OutChannels, Geometry.Channels, Geometry.KernelHeight, Geometry.KernelWidth);

    /// <summary>The image.</summary>
    public byte[] Image => [.. Enumerable.Range(0, Geometry.InputLength).Select(Input)];

    /// <summary>The weight <c>[out, in, rows, columns]</c>.</summary>
    public sbyte[] Codes => [.. Enumerable.Range(0, Geometry.OutChannels * Geometry.Depth).Select(Weight)];

    /// <summary>Weight scales <c>[segments][out]</c>.</summary>
    public float[] WeightScales => [.. Enumerable.Range(0, Segments.Length * Geometry.OutChannels).Select(i => 0.001f * (1 + i % 7))];

    /// <summary>One value per output channel.</summary>
    public float[] Bias => [.. Enumerable.Range(0, Geometry.OutChannels).Select(o => 0.37f * (o % 5))];

    /// <summary>Of both ranges: 1/d of each, d of each, z of each.</summary>
    public float[] Quantizer => [.. s_scales.Select(d => 1 / d), .. s_scales, .. ZeroPoints.Select(z => (float)z)];

    /// <summary>Says what is wrong with a result, or null.</summary>
    /// <param name="found">The output <c>[rows][out]</c>, without vector, residual or factor.</param>
    public string? Fault(ReadOnlySpan<float> found)
    {
        float[] expected = Expected();
        for (int i = 0; i < expected.Length; i++)
        {
            if (BitConverter.SingleToInt32Bits(found[i]) != BitConverter.SingleToInt32Bits(expected[i]))
            {
                (int row, int channel) = Math.DivRem(i, Geometry.OutChannels);
                return FormattableString.Invariant($"{Name}: row {row}, channel {channel} is {found[i]:R}, the definition gives {expected[i]:R}");
            }
        }

        return null;
    }

    private float[] Expected()
    {
        int outChannels = Geometry.OutChannels;
        KernelSegment[] ranges = Ranges;
        sbyte[] codes = Codes;
        byte[] image = Image;
        float[] scales = WeightScales, bias = Bias, y = new float[Geometry.Rows * outChannels];
        for (int row = 0; row < Geometry.Rows; row++)
        {
            for (int o = 0; o < outChannels; o++)
            {
                float value = 0;
                for (int s = 0; s < ranges.Length; s++)
                {
                    float term = Sum(row, o, ranges[s], ZeroPoints[s], codes, image) * (s_scales[s] * scales[(s * outChannels) + o]);
                    value = s == 0 ? term : value + term;
                }

                y[(row * outChannels) + o] = value + bias[o];
            }
        }

        return y;
    }

    private static byte Mixed(int i) => (byte)((uint)(i * 2654435761L) >> 13);

    private int Sum(int row, int o, KernelSegment segment, int zeroPoint, sbyte[] w, byte[] q)
    {
        (int image, int pixel) = Math.DivRem(row, Geometry.OutHeight * Geometry.OutWidth);
        (int y, int x) = Math.DivRem(pixel, Geometry.OutWidth);
        int sum = 0, taps = Geometry.KernelHeight * Geometry.KernelWidth;
        for (int tap = 0; tap < taps; tap++)
        {
            (int r, int k) = Math.DivRem(tap, Geometry.KernelWidth);
            nint from = Geometry.Pixel(image, (y * Geometry.Stride) + r, (x * Geometry.Stride) + k);
            for (int c = segment.Start; c < segment.Start + segment.Count; c++) sum += (q[from + c] - zeroPoint) * w[(((o * Geometry.Channels) + c) * taps) + tap];
        }

        return sum;
    }
}

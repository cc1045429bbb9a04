using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Tests.Convolution;

/// <summary>How the codes of a case are drawn.</summary>
public enum CodeRange
{
    /// <summary>Any input code, any weight code.</summary>
    Full,

    /// <summary>Any input code, weight codes −8 … 7.</summary>
    FourBit,

    /// <summary>Any input code, weight codes −64 … 64.</summary>
    SevenBit,

    /// <summary>Any input code, weight codes −z … 15 − z, with z from 0 to 15 by output channel and segment.</summary>
    FourBitWithZeroPoints,

    /// <summary>All inputs 255, all weights 127: the largest sums there are.</summary>
    Largest,

    /// <summary>All inputs 255, all weights −127: the smallest.</summary>
    Smallest,

    /// <summary>All inputs 255, weights 127 and −127 in turn: neighbours that a saturating sum would lose.</summary>
    Alternating,
}

/// <summary>What a convolution is asked for; inputs follow from it and its seed.</summary>
public sealed record QuantizedConvCase(string Name, int Channels, int OutChannels)
{
    public int Batch { get; init; } = 1;

    /// <summary>Image before padding.</summary>
    public (int Height, int Width) Image { get; init; } = (5, 6);

    public (int Height, int Width) Kernel { get; init; } = (1, 1);

    public int Stride { get; init; } = 1;

    public (int Top, int Left, int Bottom, int Right) Padding { get; init; }

    /// <summary>Size to which the image is upsampled before it is padded; null to leave it.</summary>
    public (int Height, int Width)? Upsampled { get; init; }

    /// <summary>Channels of each segment; null for one segment.</summary>
    public int[]? Segments { get; init; }

    /// <summary>Zero points of the segments in turn.</summary>
    public byte[] ZeroPoints { get; init; } = [117];

    public CodeRange Codes { get; init; }

    public bool Bias { get; init; } = true;

    public bool ImageVector { get; init; }

    /// <summary>Whether a residual is added; it is then the output's old content.</summary>
    public bool Residual { get; init; }

    public float OutputScale { get; init; } = 1;

    /// <summary>Elements between the end of an output row and the next.</summary>
    public int OutputGap { get; init; }

    /// <summary>Whether the second half of the output channels gates the first.</summary>
    public bool Gated { get; init; }

    /// <summary>The function before the output becomes codes; null where it stays floats.</summary>
    public Activation? CodesOf { get; init; }

    /// <summary>Largest code of the output.</summary>
    public int MaxCode { get; init; } = 255;

    /// <summary>Whether every output channel has a scale of its own.</summary>
    public bool ChannelScales { get; init; }

    /// <summary>Channels of an output row.</summary>
    public int Produced => Gated ? OutChannels / 2 : OutChannels;

    public ConvGeometry Geometry
    {
        get
        {
            (int height, int width) = Upsampled ?? Image;
            return new(Batch, height + Padding.Top + Padding.Bottom, width + Padding.Left + Padding.Right, Channels, OutChannels, Kernel.Height, Kernel.Width, Stride)
            {
                Vertical = Upsampled is null ? null : new(Image.Height, height, Padding.Top, Padding.Bottom),
                Horizontal = Upsampled is null ? null : new(Image.Width, width, Padding.Left, Padding.Right),
            };
        }
    }

    public ConvWeightShape Shape => new(OutChannels, Channels, Kernel.Height, Kernel.Width);

    public KernelSegment[] Ranges
    {
        get
        {
            List<KernelSegment> ranges = [];
            int start = 0;
            foreach (int count in Segments ?? [Channels])
            {
                ranges.Add(new KernelSegment(start, count));
                start += count;
            }

            return [.. ranges];
        }
    }

    public override string ToString() => Name;

    internal static QuantizedConvCase Linear(int rows, int inFeatures, int outFeatures) =>
        new($"linear {rows}×{inFeatures}→{outFeatures}", inFeatures, outFeatures) { Image = (rows, 1) };

    /// <summary>The table of shapes every kernel must agree on.</summary>
    public static IEnumerable<QuantizedConvCase> Table()
    {
        foreach (int rows in (int[])[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 23, 24, 25, 29]) yield return Linear(rows, 36, 33);
        foreach (int depth in (int[])[1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 63, 64, 65, 129]) yield return Linear(5, depth, 19);
        foreach (int columns in (int[])[1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 64, 65]) yield return Linear(13, 20, columns) with { OutputGap = 3 };
        yield return Linear(1030, 8, 5);
        yield return Linear(3, 512, 515);

        (int, int, int, int) same = (1, 1, 1, 1);
        yield return new("3×3", 8, 16) { Kernel = (3, 3), Padding = same };
        yield return new("3×3 of one channel", 1, 17) { Kernel = (3, 3), Padding = same, Image = (7, 5) };
        yield return new("3×3 of three channels", 3, 32) { Kernel = (3, 3), Padding = same, Batch = 2 };
        yield return new("3×3, 37 to 35 channels", 37, 35) { Kernel = (3, 3), Padding = same, Batch = 5 };
        yield return new("3×3 to one channel", 16, 1) { Kernel = (3, 3), Padding = same };
        yield return new("3×3, stride 2", 12, 20) { Kernel = (3, 3), Padding = same, Stride = 2, Image = (8, 8) };
        yield return new("3×3, stride 2, odd image", 12, 20) { Kernel = (3, 3), Padding = same, Stride = 2, Image = (7, 9), Batch = 2 };
        yield return new("3×3, stride 2, padded below and right", 6, 24) { Kernel = (3, 3), Padding = (0, 0, 1, 1), Stride = 2, Image = (8, 6) };
        yield return new("2×2 patches", 4, 40) { Kernel = (2, 2), Stride = 2, Image = (8, 8) };
        yield return new("1×3", 5, 7) { Kernel = (1, 3), Padding = (0, 1, 0, 1) };
        yield return new("3×1", 5, 7) { Kernel = (3, 1), Padding = (1, 0, 1, 0) };
        yield return new("5×4, uneven padding", 3, 9) { Kernel = (5, 4), Padding = (2, 1, 1, 3) };
        yield return new("kernel as large as the image", 2, 18) { Kernel = (5, 6) };
        yield return new("1×1, stride 2", 10, 10) { Stride = 2, Image = (5, 5) };
        yield return new("1×1, batch 5", 24, 40) { Batch = 5, Image = (4, 4) };

        yield return new("3×3 behind an upsampling", 8, 33) { Kernel = (3, 3), Padding = same, Upsampled = (10, 12), Batch = 2 };
        yield return new("3×3 behind an upsampling to odd sizes", 12, 20) { Kernel = (3, 3), Padding = same, Image = (4, 7), Upsampled = (7, 13), Batch = 2 };
        yield return new("3×3 behind an upsampling, 37 to 35 channels", 37, 35) { Kernel = (3, 3), Padding = same, Upsampled = (10, 11), ImageVector = true, Batch = 3 };
        yield return new("3×3 behind an upsampling of one pixel", 4, 5) { Kernel = (3, 3), Padding = same, Image = (1, 1), Upsampled = (2, 1) };
        yield return new("3×3 behind an upsampling, large", 40, 70) { Kernel = (3, 3), Padding = same, Image = (17, 16), Upsampled = (34, 32) };
        yield return new("3×3 behind an upsampling, groups", 96, 40) { Kernel = (3, 3), Padding = same, Upsampled = (10, 12), Segments = [32, 32, 32], ZeroPoints = [1, 200, 3], Codes = CodeRange.FourBitWithZeroPoints };
        yield return new("everything behind an upsampling", 13, 50)
        {
            ImageVector = true,
            Residual = true,
            OutputScale = 0.70710677f,
            Batch = 2,
            Kernel = (3, 3),
            Padding = same,
            Upsampled = (9, 12),
            Segments = [5, 8],
            ZeroPoints = [0, 255],
            OutputGap = 2,
        };
        yield return new("codes behind an upsampling", 16, 33) { Kernel = (3, 3), Padding = same, Upsampled = (10, 12), CodesOf = Activation.Silu, Residual = true, Batch = 2, OutputGap = 1 };
        yield return new("codes of a gate behind an upsampling", 16, 64) { Kernel = (3, 3), Padding = same, Upsampled = (9, 11), CodesOf = Activation.None, Gated = true, Codes = CodeRange.FourBit };
        yield return new("1×1 behind an upsampling", 20, 33) { Upsampled = (10, 12), Residual = true };
        yield return new("upsampling by three and a half, stride 2", 7, 18) { Kernel = (3, 2), Padding = (2, 1, 0, 3), Stride = 2, Image = (2, 4), Upsampled = (7, 9) };
        yield return new("upsampling of the rows alone", 8, 16) { Kernel = (3, 3), Padding = same, Upsampled = (10, 6) };

        yield return new("two segments", 20, 33) { Segments = [12, 8], ZeroPoints = [3, 200] };
        yield return new("two segments, odd", 19, 33) { Segments = [7, 12], ZeroPoints = [3, 200], Kernel = (3, 3), Padding = same };
        yield return new("two segments, stride 2", 9, 16) { Segments = [5, 4], ZeroPoints = [0, 255], Kernel = (3, 3), Padding = same, Stride = 2, Batch = 2 };
        yield return new("groups of 32", 128, 48) { Segments = [32, 32, 32, 32], ZeroPoints = [1, 2, 3, 4], Codes = CodeRange.FourBit };
        yield return new("groups of 32 with zero points", 128, 48) { Segments = [32, 32, 32, 32], ZeroPoints = [1, 2, 3, 4], Codes = CodeRange.FourBitWithZeroPoints };
        yield return new("groups of 5 with zero points, 3×3", 15, 37) { Segments = [5, 5, 5], ZeroPoints = [255, 0], Codes = CodeRange.FourBitWithZeroPoints, Kernel = (3, 3), Padding = same };
        yield return Linear(5, 600, 33) with { Name = "300 segments", Segments = [.. Enumerable.Repeat(2, 300)], ZeroPoints = [7, 250, 90], Codes = CodeRange.FourBitWithZeroPoints };
        yield return new("a segment a channel", 7, 5) { Segments = [1, 1, 1, 1, 1, 1, 1], ZeroPoints = [9, 0, 255], Kernel = (3, 3), Padding = same };

        yield return new("image vector", 8, 21) { ImageVector = true, Batch = 3 };
        yield return new("residual", 8, 21) { Residual = true, Batch = 3, OutputGap = 1 };
        yield return new("everything", 13, 50) { ImageVector = true, Residual = true, OutputScale = 0.70710677f, Batch = 2, Kernel = (3, 3), Padding = same };
        yield return new("no bias", 8, 21) { Bias = false };

        foreach (Activation activation in Enum.GetValues<Activation>()) yield return Linear(29, 24, 50) with { Name = $"codes of {activation}", CodesOf = activation };
        yield return new("codes of everything", 13, 50) { ImageVector = true, Residual = true, OutputScale = 0.70710677f, Batch = 2, OutputGap = 5, CodesOf = Activation.None, MaxCode = 15 };
        yield return Linear(140, 24, 33) with { Name = "codes, a scale a channel", CodesOf = Activation.Gelu, ChannelScales = true, MaxCode = 63 };
        yield return Linear(1, 24, 3) with { Name = "codes of one row", CodesOf = Activation.None };
        yield return Linear(131, 20, 96) with { Name = "gated", Gated = true, OutputGap = 3 };
        yield return Linear(131, 20, 64) with { Name = "codes of a gate", Gated = true, CodesOf = Activation.None };
        yield return new("codes of a gate, 3×3, two segments, no bias", 12, 64)
        {
            Gated = true,
            CodesOf = Activation.None,
            ChannelScales = true,
            OutputGap = 1,
            Bias = false,
            Segments = [8, 4],
            Kernel = (3, 3),
            Padding = same,
            Codes = CodeRange.FourBitWithZeroPoints,
        };

        foreach (CodeRange range in Enum.GetValues<CodeRange>())
        {
            yield return Linear(7, 1027, 35) with { Name = $"linear, {range}", Codes = range };
            foreach (byte zeroPoint in (byte[])[0, 255])
            {
                yield return new($"3×3, {range}, zero point {zeroPoint}", 70, 35) { Kernel = (3, 3), Padding = same, Codes = range, ZeroPoints = [zeroPoint] };
            }
        }

        yield return Linear(2, 65536, 3) with { Name = "the longest sum, largest", Codes = CodeRange.Largest, ZeroPoints = [0] };
        yield return Linear(2, 65536, 3) with { Name = "the longest sum, smallest", Codes = CodeRange.Smallest, ZeroPoints = [255] };
    }

    /// <summary>Shapes nobody thought of.</summary>
    public static IEnumerable<QuantizedConvCase> Random()
    {
        Random random = new(20);
        for (int i = 0; i < 40; i++)
        {
            int channels = random.Next(1, 80);
            int first = random.Next(0, channels);
            (int Height, int Width) kernel = (random.Next(1, 4), random.Next(1, 4)), image = (random.Next(kernel.Height, 12), random.Next(kernel.Width, 12));
            yield return new QuantizedConvCase($"random {i}", channels, random.Next(1, 100))
            {
                Batch = random.Next(1, 4),
                Image = image,
                Upsampled = i % 3 == 0 ? (image.Height + random.Next(image.Height + 3), image.Width + random.Next(image.Width + 3)) : null,
                Kernel = kernel,
                Stride = random.Next(1, 3),
                Padding = (random.Next(2), random.Next(2), random.Next(2), random.Next(2)),
                Segments = first == 0 ? null : [first, channels - first],
                ZeroPoints = [(byte)random.Next(256), (byte)random.Next(256)],
                Codes = (CodeRange)random.Next(4),
                Bias = random.Next(2) == 0,
                ImageVector = random.Next(2) == 0,
                Residual = random.Next(2) == 0,
                OutputScale = random.Next(2) == 0 ? 1 : random.NextSingle(),
                OutputGap = random.Next(3),
            };
        }
    }
}

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>What an assembled tile kernel is given. Every field takes eight bytes; those at the end are its own notes.</summary>
internal unsafe struct VnniTileArguments
{
    /// <summary>
    /// For each row of all tiles, its first input pixel. Advances with the tiles, as do <see cref="ImageVectorRows"/>, <see cref="ResidualRows"/> and
    /// <see cref="OutputRows"/>.
    /// </summary>
    public byte** Rows;

    /// <summary>Tiles below one another, all of the kernel's number of rows.</summary>
    public nint Tiles;

    /// <summary>Packed codes of the panel.</summary>
    public byte* Codes;

    /// <summary>The panel's segments.</summary>
    public VnniSegment* Segments;

    /// <summary>At least 1.</summary>
    public nint SegmentCount;

    /// <summary>What lies under the convolution's kernel.</summary>
    public ConvRun* Runs;

    /// <summary>At least 1.</summary>
    public nint RunCount;

    /// <summary>Bias of the panel's channels, or null.</summary>
    public float* Bias;

    /// <summary>For each row, the image vector of its image, or null.</summary>
    public float** ImageVectorRows;

    /// <summary>Offset of the panel in a row of an image vector, in bytes.</summary>
    public nint PanelOffset;

    /// <summary>Where the residual's panel begins, or null.</summary>
    public float* Residual;

    /// <summary>For each row, where it lies behind that, in bytes.</summary>
    public nint* ResidualRows;

    /// <summary>The factor, in the low four bytes.</summary>
    public nint OutputScale;

    /// <summary>Where the output's panel begins.</summary>
    public float* Output;

    /// <summary>For each row, where it goes behind that, in bytes.</summary>
    public nint* OutputRows;

    /// <summary>One bit for each of the panel's 32 channels that exists.</summary>
    public nint Channels;

    // The kernel's notes.
    public VnniSegment* Segment;
    public nint SegmentsLeft;
    public nint SegmentStart;
    public nint PixelLength;
    public ConvRun* Run;
    public nint RunsLeft;
    public nint RunOffset;
    public nint RunEnd;
    public nint RoundsEnd;
}

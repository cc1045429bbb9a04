namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// A convolution over an image that already carries its padding: NHWC, <c>[Batch, Height, Width, Channels]</c>, border included. There is no
/// im2col: output pixel (b, y, x) reads, for each kernel row r, the <c>KernelWidth·Channels</c> consecutive elements that start at
/// input pixel (b, y·Stride + r, x·Stride). A linear layer over M rows is a 1×1 convolution over an image of M×1.
/// <code>
///   padded input row y·Stride + r      |pad| c0 c1 … | c0 c1 … | c0 c1 … |pad|
///                                            └────── KernelWidth·Channels ──────┘   one contiguous run per kernel row
/// </code>
/// An image may be stored smaller than it is seen (<see cref="UpsampledAxis"/>); <see cref="ConvWalk"/> says what pixels then read.
/// </summary>
/// <param name="Batch">Images.</param>
/// <param name="Height">Rows of the padded input, as the convolution sees it.</param>
/// <param name="Width">Columns of the padded input, as the convolution sees it.</param>
/// <param name="Channels">Channels of the input, also the distance between its pixels in elements.</param>
/// <param name="OutChannels">Channels of the output.</param>
/// <param name="KernelHeight">Rows of the kernel.</param>
/// <param name="KernelWidth">Columns of the kernel.</param>
/// <param name="Stride">Step of the kernel in both directions.</param>
public readonly record struct ConvGeometry(
    int Batch, int Height, int Width, int Channels, int OutChannels, int KernelHeight, int KernelWidth, int Stride)
{
    /// <summary>How the rows are upsampled on the way, <see cref="Height"/> being what is seen of them; null where they are stored as they are.</summary>
    public UpsampledAxis? Vertical { get; init; }

    /// <summary>How the columns are upsampled on the way; null where they are stored as they are.</summary>
    public UpsampledAxis? Horizontal { get; init; }

    /// <summary>Rows of the input in memory.</summary>
    public int StoredHeight => Vertical?.Stored ?? Height;

    /// <summary>Columns of the input in memory.</summary>
    public int StoredWidth => Horizontal?.Stored ?? Width;

    /// <summary>Elements of the input in memory.</summary>
    public int InputLength => Batch * StoredHeight * StoredWidth * Channels;

    /// <summary>Rows of the output.</summary>
    public int OutHeight => (Height - KernelHeight) / Stride + 1;

    /// <summary>Columns of the output.</summary>
    public int OutWidth => (Width - KernelWidth) / Stride + 1;

    /// <summary>Pixels of the output over the batch: the M of the matrix product.</summary>
    public int Rows => Batch * OutHeight * OutWidth;

    /// <summary>Length of one output's sum: the K of the matrix product.</summary>
    public int Depth => Channels * KernelHeight * KernelWidth;

    /// <summary>A linear layer over <paramref name="rows"/> rows.</summary>
    public static ConvGeometry Linear(int rows, int inFeatures, int outFeatures) => new(1, rows, 1, inFeatures, outFeatures, 1, 1, 1);

    /// <summary>Where the pixel that is seen at a row and column of an image begins in memory, in elements.</summary>
    internal nint Pixel(int image, int row, int column) =>
        (((((nint)image * StoredHeight) + (Vertical?.At(row) ?? row)) * StoredWidth) + (Horizontal?.At(column) ?? column)) * Channels;
}

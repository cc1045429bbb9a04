namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>Shape of a weight <c>[out, in, rows, columns]</c>; a linear layer has a kernel of 1×1.</summary>
/// <param name="OutChannels">Output channels N.</param>
/// <param name="InChannels">Input channels.</param>
/// <param name="KernelHeight">Rows of the kernel.</param>
/// <param name="KernelWidth">Columns of the kernel.</param>
public readonly record struct ConvWeightShape(int OutChannels, int InChannels, int KernelHeight, int KernelWidth)
{
    /// <summary>Rows × columns of the kernel.</summary>
    public int Taps => KernelHeight * KernelWidth;

    /// <summary>Length of one output's sum: the K of the matrix product.</summary>
    public int Depth => InChannels * Taps;

    /// <summary>A linear layer's weight <c>[out, in]</c>.</summary>
    public static ConvWeightShape Linear(int inFeatures, int outFeatures) => new(outFeatures, inFeatures, 1, 1);
}

/// <summary>A range of input channels with one activation scale and zero point and one weight scale per output channel.</summary>
/// <param name="Start">First channel.</param>
/// <param name="Count">How many channels, at least 1.</param>
public readonly record struct KernelSegment(int Start, int Count);

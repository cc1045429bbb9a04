namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>One call of a <see cref="QuantizedConvKernel"/>.</summary>
public unsafe struct QuantizedConvArguments
{
    /// <summary>Shapes of the padded input and of the output, and how one reads the other.</summary>
    public ConvWalk Walk;

    /// <summary>Weights packed by the kernel that is run.</summary>
    public PackedWeights Weights;

    /// <summary>
    /// Activation codes <c>[Batch, StoredHeight, StoredWidth, Channels]</c>, the border holding the zero point of each channel's segment.
    /// <see cref="Memory.NativeBuffer.Slack"/> bytes behind the end must be readable; their value does not matter.
    /// </summary>
    public byte* Input;

    /// <summary>Activation scale d of each segment.</summary>
    public float* InputScales;

    /// <summary>Activation zero point z of each segment.</summary>
    public byte* InputZeroPoints;

    /// <summary>What happens to the sums, and where they go.</summary>
    public ConvEpilogue Epilogue;

    /// <summary>Shapes.</summary>
    internal readonly ConvGeometry Geometry => Walk.Geometry;
}

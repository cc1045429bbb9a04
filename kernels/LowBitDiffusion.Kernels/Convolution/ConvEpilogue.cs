namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// What happens to a sum before it is stored, in this order in every kernel (each line one rounding to float, no fused multiply-add, so that
/// all instruction sets agree bit for bit once the sums do):
/// <code>
///   v  = Σ over segments s, in order, of  float(S[s] − z[s]·W[s][o]) · (d[s]·dw[s][o])      (low bit; a float kernel starts with its sum)
///   v += bias[o]
///   v += imageVector[b][o]
///   v += residual[m][o]
///   v *= outputScale
/// </code>
/// Null pointers skip their line.
/// </summary>
public unsafe struct ConvEpilogue
{
    /// <summary>One value per output channel, or null.</summary>
    public float* Bias;

    /// <summary>One row of output channels per image, added to all its pixels (a time embedding), or null.</summary>
    public float* ImageVector;

    /// <summary>Distance between the rows of <see cref="ImageVector"/> in elements; 0 for one row for all images.</summary>
    public nint ImageVectorStride;

    /// <summary>One row per output pixel, or null. May be <see cref="Output"/> itself.</summary>
    public float* Residual;

    /// <summary>Distance between the rows of <see cref="Residual"/> in elements.</summary>
    public nint ResidualStride;

    /// <summary>Factor on the result; 1 for none.</summary>
    public float OutputScale;

    /// <summary>One row per output pixel.</summary>
    public float* Output;

    /// <summary>Distance between the rows of <see cref="Output"/> in elements.</summary>
    public nint OutputStride;
}

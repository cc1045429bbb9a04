using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Staging;

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
///   v  = v[o]·gelu(v[o + N/2])                                                              where gated: half as many outputs
///   v  = activation(v)
///   code = clamp(round_half_even(v·inv[o]) + z, 0, maxCode)                                 where the output is codes
/// </code>
/// Null pointers skip their line. The last three are those of <see cref="Staging.StagingJob"/> and of GEGLU, the same bits; low-bit kernels alone have them
/// (<see cref="TileFinish"/>).
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

    /// <summary>One row per output pixel; not used where there are <see cref="Codes"/>.</summary>
    public float* Output;

    /// <summary>Distance between the rows of <see cref="Output"/>, or of <see cref="Codes"/>, in elements.</summary>
    public nint OutputStride;

    /// <summary>
    /// Whether the second half of the output channels gates the first (GEGLU). Weights, scales and bias are then in the order of
    /// <see cref="QuantizedConvKernel.GatedChannel"/>, and <see cref="Residual"/> and <see cref="ImageVector"/> are null.
    /// </summary>
    public bool Gated;

    /// <summary>One row of codes per output pixel in place of floats, or null.</summary>
    public byte* Codes;

    /// <summary>Function of the value before it becomes a code.</summary>
    public Activation Activation;

    /// <summary>How values become codes.</summary>
    public ChannelQuantizer Quantizer;

    /// <summary>One 1/(d·s) for each channel instead of the quantizer's, or null.</summary>
    public float* InverseScales;

    /// <summary>Largest code.</summary>
    public int MaxCode;

    /// <summary>Whether tiles go through <see cref="TileFinish"/>.</summary>
    internal readonly bool NeedsFinish => Gated || Codes != null;
}

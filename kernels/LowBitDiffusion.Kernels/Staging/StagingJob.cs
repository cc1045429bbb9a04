using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Staging;

/// <summary>
/// The pass that feeds a convolution or matrix product: it reads one or two NHWC images side by side, normalises, activates, resizes and writes a padded
/// image of codes or floats, in one sweep over memory.
/// <code>
///   x = channel c of source pixel (⌊y·SourceHeight/Height⌋, ⌊x·SourceWidth/Width⌋) of [First | Second]
///   x = (x − RowMean[row])·RowInverseDeviation[row]                                    if RowMean is given
///   x = x·Factor[b][c] + Offset[b][c]                                                  if Factor is given
///   x = activation(x)
///   code  = clamp(round_half_even(x·inv[c]) + z[c], 0, MaxCode)                        <see cref="StagingPass.Quantize"/>
///   value = x                                                                          <see cref="StagingPass.Store"/>
/// </code>
/// Every line but the activation (<see cref="Functions"/>) is one rounding to float per operation, never a fused multiply-add, so codes and values are the same bits at every <see cref="SimdLevel"/>.
/// A linear layer's input is an image of rows × 1 pixels.
/// </summary>
public unsafe struct StagingJob
{
    /// <summary>The first channels.</summary>
    public RowView First;

    /// <summary>How many channels <see cref="First"/> has.</summary>
    public int FirstChannels;

    /// <summary>The channels after them: a skip connection.</summary>
    public RowView Second;

    /// <summary>How many channels <see cref="Second"/> has; 0 for none.</summary>
    public int SecondChannels;

    /// <summary>Images.</summary>
    public int Batch;

    /// <summary>Rows of a source image.</summary>
    public int SourceHeight;

    /// <summary>Columns of a source image.</summary>
    public int SourceWidth;

    /// <summary>Rows of the destination without its border: <see cref="SourceHeight"/>, or more for nearest-neighbour upsampling.</summary>
    public int Height;

    /// <summary>Columns of the destination without its border.</summary>
    public int Width;

    /// <summary>Border rows above.</summary>
    public int Top;

    /// <summary>Border columns to the left.</summary>
    public int Left;

    /// <summary>Border rows below.</summary>
    public int Bottom;

    /// <summary>Border columns to the right.</summary>
    public int Right;

    /// <summary>Mean of each source row (layer normalisation), or null.</summary>
    public float* RowMean;

    /// <summary>1/√(variance + ε) of each source row; given exactly where <see cref="RowMean"/> is.</summary>
    public float* RowInverseDeviation;

    /// <summary>Factor of each image and channel, or null: a group normalisation folded by <see cref="Normalization.GroupNorm"/>, a layer normalisation's
    /// weight.</summary>
    public float* Factor;

    /// <summary>Offset of each image and channel; given exactly where <see cref="Factor"/> is.</summary>
    public float* Offset;

    /// <summary>Distance between the images' rows of <see cref="Factor"/> and <see cref="Offset"/> in elements; 0 for one row for all images.</summary>
    public nint AffineStride;

    /// <summary>Applied last.</summary>
    public Activation Activation;

    /// <summary>Quantizer of the channels before <see cref="SplitChannel"/>, or of all.</summary>
    public ChannelQuantizer Quantizer;

    /// <summary>First channel of a second quantizer (split skip concatenation); 0 for none.</summary>
    public int SplitChannel;

    /// <summary>Quantizer of the channels from <see cref="SplitChannel"/> on.</summary>
    public ChannelQuantizer SplitQuantizer;

    /// <summary>One 1/(d·s) for each channel instead of the quantizers' <see cref="ChannelQuantizer.InverseScale"/> (weight dilation, smoothing), or
    /// null.</summary>
    public float* InverseScales;

    /// <summary>Largest code: 2^bits − 1.</summary>
    public int MaxCode;

    /// <summary>Channels of the sources together, also the distance between the destination's pixels.</summary>
    public readonly int Channels => FirstChannels + SecondChannels;

    /// <summary>Rows of the destination with its border.</summary>
    public readonly int PaddedHeight => Top + Height + Bottom;

    /// <summary>Columns of the destination with its border.</summary>
    public readonly int PaddedWidth => Left + Width + Right;

    /// <summary>Elements of the destination with its border.</summary>
    public readonly long DestinationLength => (long)Batch * PaddedHeight * PaddedWidth * Channels;
}

/// <summary>How numbers become codes: <c>clamp(round_half_even(x·InverseScale) + ZeroPoint, 0, MaxCode)</c>.</summary>
/// <param name="InverseScale">1/d.</param>
/// <param name="ZeroPoint">z, the code of 0; the border is filled with it.</param>
public readonly record struct ChannelQuantizer(float InverseScale, byte ZeroPoint);

using LowBitDiffusion.Kernels.Convolution;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>A convolution over an image without its padding, NHWC; a linear layer over M rows is the 1×1 case (<see cref="Linear"/>).</summary>
/// <param name="Batch">Images.</param>
/// <param name="Height">Rows of the image.</param>
/// <param name="Width">Columns of the image.</param>
/// <param name="InChannels">Channels read.</param>
/// <param name="OutChannels">Channels written.</param>
/// <param name="Kernel">Rows and columns of the kernel.</param>
/// <param name="Stride">Step of the kernel in both directions.</param>
/// <param name="PadTop">Rows of zeros above.</param>
/// <param name="PadLeft">Columns of zeros to the left.</param>
/// <param name="PadBottom">Rows of zeros below.</param>
/// <param name="PadRight">Columns of zeros to the right.</param>
public readonly record struct LayerShape(
    int Batch, int Height, int Width, int InChannels, int OutChannels, int Kernel, int Stride, int PadTop, int PadLeft, int PadBottom, int PadRight)
{
    /// <summary>A linear layer over <paramref name="rows"/> rows.</summary>
    public static LayerShape Linear(int rows, int inFeatures, int outFeatures) => new(1, rows, 1, inFeatures, outFeatures, 1, 1, 0, 0, 0, 0);

    /// <summary>Rows of the output.</summary>
    public int OutHeight => (Height + PadTop + PadBottom - Kernel) / Stride + 1;

    /// <summary>Columns of the output.</summary>
    public int OutWidth => (Width + PadLeft + PadRight - Kernel) / Stride + 1;

    /// <summary>Elements of the input.</summary>
    public long InElements => (long)Batch * Height * Width * InChannels;

    /// <summary>Elements of the output.</summary>
    public long OutElements => (long)Batch * OutHeight * OutWidth * OutChannels;

    /// <summary>Elements of the weight.</summary>
    public long Weights => (long)OutChannels * InChannels * Kernel * Kernel;

    /// <summary>Multiply-accumulates of the forward pass, and of each of the two backward passes.</summary>
    public long Macs => (long)Batch * OutHeight * OutWidth * Weights;

    internal bool Pads => (PadTop | PadLeft | PadBottom | PadRight) != 0;

    /// <summary>The forward pass over the padded image.</summary>
    internal ConvGeometry Padded => new(Batch, Height + PadTop + PadBottom, Width + PadLeft + PadRight, InChannels, OutChannels, Kernel, Kernel, Stride);

    /// <summary>
    /// The gradient of the input as a forward pass: over the output's gradient with <c>Stride − 1</c> zeros between its pixels and <c>Kernel − 1 − pad</c> around them.
    /// </summary>
    internal ConvGeometry Transposed => new(Batch, Height + Kernel - 1, Width + Kernel - 1, OutChannels, InChannels, Kernel, Kernel, 1);
}

using ILGPU;

namespace LowBitDiffusion.Kernels.ILGPU.Families;

/// <summary>What happens to a sum before it is stored, in the order of <see cref="Convolution.ConvEpilogue"/>; empty views skip their line. Strides are in elements.</summary>
/// <param name="Bias">One value per output channel.</param>
/// <param name="ImageVector">One row of output channels per image.</param>
/// <param name="ImageVectorStride">Distance between these rows; 0 for one row for all images.</param>
/// <param name="Residual">One row per output pixel; may be the output.</param>
/// <param name="ResidualStride">Distance between these rows.</param>
/// <param name="OutputScale">Factor on the result.</param>
/// <param name="Output">One row per output pixel.</param>
/// <param name="OutputStride">Distance between these rows.</param>
public readonly record struct MatrixEpilogue(
    ArrayView<float> Bias, ArrayView<float> ImageVector, int ImageVectorStride, ArrayView<float> Residual, int ResidualStride, float OutputScale, ArrayView<float> Output, int OutputStride);

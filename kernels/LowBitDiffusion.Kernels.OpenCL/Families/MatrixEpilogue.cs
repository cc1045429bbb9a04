using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>What happens to a sum before it is stored, in the order of <see cref="ConvEpilogue"/>; places that are nowhere skip their line. Strides are in elements.</summary>
/// <param name="Bias">One value per output channel.</param>
/// <param name="ImageVector">One row of output channels per image.</param>
/// <param name="ImageVectorStride">Distance between these rows; 0 for one row for all images.</param>
/// <param name="Residual">One row per output pixel; may be the output.</param>
/// <param name="ResidualStride">Distance between these rows.</param>
/// <param name="OutputScale">Factor on the result.</param>
/// <param name="Output">One row per output pixel, of values or, with <see cref="CodesOf"/>, codes.</param>
/// <param name="OutputStride">Distance between these rows.</param>
public readonly record struct MatrixEpilogue(
    DeviceSlice Bias, DeviceSlice ImageVector, int ImageVectorStride, DeviceSlice Residual, int ResidualStride, float OutputScale, DeviceSlice Output, int OutputStride)
{
    /// <summary>Whether the second half of the output channels gates the first: weights, scales and bias are then in the order of <see cref="GatedChannel"/>.</summary>
    public bool Gated { get; init; }

    /// <summary>Function of the value before it becomes a code; null where the output is values.</summary>
    public Activation? CodesOf { get; init; }

    /// <summary>How values become codes: 1/d, d and z of two ranges, of which the first counts.</summary>
    public DeviceSlice CodeQuantizer { get; init; }

    /// <summary>1/(d·s) of each channel instead, or nowhere.</summary>
    public DeviceSlice CodeInverse { get; init; }

    /// <summary>Largest code.</summary>
    public int MaxCode { get; init; }

    /// <summary>The order that a gated layer's output channels are packed in: a channel, its gate, the next channel. Each item of every tile then has both.</summary>
    /// <param name="place">Place in the packed order, 0 … N − 1.</param>
    /// <param name="outChannels">Output channels N, an even number.</param>
    public static int GatedChannel(int place, int outChannels) => (place / 2) + (place % 2 * (outChannels / 2));

    /// <summary>The macros of the kernels' sources.</summary>
    internal string Options => $"{(Gated ? " -DGATED" : "")}{(CodesOf is { } activation ? $" -DCODES={(int)activation}" : "")}";

    /// <summary>Adds what both kinds of layers have: places of the epilogue, geometry of a phase, numbers of the epilogue.</summary>
    internal KernelCall Bind(KernelCall call, ConvWalk walk, ConvPhase phase, int paddedColumns) => call
        .Memory(Bias).Memory(ImageVector).Memory(Residual).Memory(Output).Memory(CodeQuantizer).Memory(CodeInverse)
        .Value(new GeometryArguments
        {
            Rows = phase.Rows,
            Columns = walk.Geometry.OutChannels,
            PaddedColumns = paddedColumns,
            InOrder = walk.Phases.Length == 1 ? 1 : 0,
            PerImage = phase.Map.PerImage,
            PerLine = phase.Map.PerLine,
            From = (int)phase.Map.From,
            FromImage = (int)phase.Map.FromImage,
            FromLine = (int)phase.Map.FromLine,
            FromStep = (int)phase.Map.FromStep,
            To = phase.Map.To,
            ToImage = phase.Map.ToImage,
            ToLine = phase.Map.ToLine,
            ToStep = phase.Map.ToStep,
        })
        .Value(new EpilogueArguments
        {
            ImageVectorStride = ImageVectorStride,
            ResidualStride = ResidualStride,
            OutputStride = OutputStride,
            MaxCode = MaxCode,
            OutputScale = OutputScale,
        });

    private struct GeometryArguments
    {
        public int Rows, Columns, PaddedColumns, InOrder, PerImage, PerLine, From, FromImage, FromLine, FromStep, To, ToImage, ToLine, ToStep;
    }

    private struct EpilogueArguments
    {
        public int ImageVectorStride, ResidualStride, OutputStride, MaxCode;
        public float OutputScale;
    }
}

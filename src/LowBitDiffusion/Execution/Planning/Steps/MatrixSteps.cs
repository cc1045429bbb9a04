using System.Runtime.CompilerServices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.FloatConvolution;
using LowBitDiffusion.Kernels.Staging;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Codes for the layers that read a result, in place of its floats.</summary>
/// <param name="Region">Where they go: rows of <paramref name="Channels"/>.</param>
/// <param name="Channels">Codes of a row.</param>
/// <param name="Activation">Function applied before, or null.</param>
/// <param name="Quantizer">The readers' quantizer.</param>
internal sealed record CodeOutput(Region Region, int Channels, ActivationKind? Activation, InputQuantizer Quantizer);

/// <summary>What a convolution or linear layer does to its sums before it stores them.</summary>
/// <param name="ImageVector">Vector per image, or null.</param>
/// <param name="VectorIsShared">Whether one vector serves all images.</param>
/// <param name="Residual">Value added, or null.</param>
/// <param name="OutputScale">Factor.</param>
/// <param name="Gated">Whether the second half of the channels gates the first.</param>
/// <param name="Output">Where the result goes, unless it goes as codes.</param>
/// <param name="Codes">Where it goes as codes, or null.</param>
internal sealed record MatrixEpilogue(
    Storage? ImageVector, bool VectorIsShared, Storage? Residual, float OutputScale, bool Gated, Storage? Output, CodeOutput? Codes)
{
    /// <summary>The kernel's form, with the addresses of this run.</summary>
    public unsafe ConvEpilogue Bind(PlanContext context, float* bias)
    {
        ConvEpilogue epilogue = new() { Bias = bias, OutputScale = OutputScale, Gated = Gated };
        if (ImageVector is { } vector)
        {
            epilogue.ImageVector = context.Floats(vector);
            epilogue.ImageVectorStride = VectorIsShared ? 0 : vector.Stride;
        }

        if (Residual is { } residual)
        {
            epilogue.Residual = context.Floats(residual);
            epilogue.ResidualStride = residual.Stride;
        }

        if (Output is { } output)
        {
            epilogue.Output = context.Floats(output);
            epilogue.OutputStride = output.Stride;
        }

        if (Codes is { Quantizer: var quantizer } codes)
        {
            epilogue.Codes = context.Bytes(codes.Region);
            epilogue.OutputStride = codes.Channels;
            epilogue.Activation = StageStep.Map(codes.Activation);
            epilogue.Quantizer = new ChannelQuantizer(quantizer.Inverse[0], quantizer.ZeroPoints[0]);
            epilogue.InverseScales = quantizer.ChannelInverse;
            epilogue.MaxCode = quantizer.MaxCode;
        }

        return epilogue;
    }
}

/// <summary>A convolution or linear layer with its epilogue.</summary>
internal abstract class MatrixStep(MatrixOp op, ConvGeometry geometry, Region input, MatrixEpilogue epilogue) : PlanStep
{
    /// <summary>Shapes of padded input and output, and how one reads the other.</summary>
    protected ConvWalk Walk { get; } = new(geometry);

    /// <summary>Shapes of padded input and output.</summary>
    protected ConvGeometry Geometry => Walk.Geometry;

    /// <summary>The staged input.</summary>
    protected Region Input { get; } = input;

    /// <summary>What happens to the sums.</summary>
    public MatrixEpilogue Epilogue { get; } = epilogue;

    public override long Macs => (long)Geometry.Rows * Geometry.Depth * Geometry.OutChannels;

    public override IEnumerable<Region> Reads => [Input, .. Of(Epilogue.ImageVector, Epilogue.Residual)];

    public override IEnumerable<Region> Writes => Epilogue.Codes is { } codes ? [codes.Region] : Of(Epilogue.Output);

    /// <summary>The first word of <see cref="PlanStep.Kind"/>.</summary>
    protected string Family { get; } = op is Conv2dOp ? "conv" : "linear";
}

/// <summary>A layer in single precision.</summary>
internal sealed unsafe partial class FloatMatrixStep(MatrixOp op, ConvGeometry geometry, Region input, int offset, MatrixEpilogue epilogue)
    : MatrixStep(op, geometry, input, epilogue)
{
    private readonly MatrixOp _op = op;
    private PackedFloatWeights _weights = null!;
    private float* _bias;

    public override string Kind => $"{Family} f32";

    public override void Load(PackedModel model)
    {
        _weights = model.Float(_op);
        _bias = model.Bias(_op, null);
    }

    public override void Run(PlanContext context) =>
        FloatConvKernel.Run(context.Pool, Walk, (float*)context.Bytes(Input) + offset, _weights, Epilogue.Bind(context, _bias));
}

/// <summary>A layer in integers: codes in, floats or its readers' codes out.</summary>
internal sealed unsafe partial class QuantizedMatrixStep : MatrixStep
{
    private readonly MatrixOp _op;
    private readonly QuantizedModule _module;
    private readonly InputQuantizer _quantizer;
    private readonly int[] _inputSegments;
    private readonly float[] _scales;
    private readonly byte[] _zeroPoints;
    private readonly string _kind;
    private QuantizedConvKernel _kernel = null!;
    private PackedWeights _weights = null!;
    private float* _bias;

    public QuantizedMatrixStep(MatrixOp op, QuantizedModule module, ConvGeometry geometry, Region input, InputQuantizer quantizer, MatrixEpilogue epilogue)
        : base(op, geometry, input, epilogue)
    {
        (_op, _module, _quantizer) = (op, module, quantizer);
        // A table with one column serves both halves of a split.
        _inputSegments = [.. module.Segments.Select(s => module.Input.Segments == 1 ? 0 : s.InputSegment)];
        _scales = GC.AllocateArray<float>(_inputSegments.Length, pinned: true);
        _zeroPoints = GC.AllocateArray<byte>(_inputSegments.Length, pinned: true);
        _kind = $"{Family} w{module.WeightBits}a{module.Input.Bits}";
    }

    public override string Kind => _kind;

    public override void Load(PackedModel model)
    {
        _kernel = model.Kernels.QuantizedConv;
        _weights = model.Quantized(_op, _module, Epilogue.Gated);
        _bias = model.Bias(_op, _module, Epilogue.Gated);
    }

    public override void Run(PlanContext context)
    {
        for (int s = 0; s < _inputSegments.Length; s++)
        {
            _scales[s] = _quantizer.Scale(_inputSegments[s]);
            _zeroPoints[s] = _quantizer.ZeroPoints[_inputSegments[s]];
        }

        _kernel.Run(context.Pool, new QuantizedConvArguments
        {
            Walk = Walk,
            Weights = _weights,
            Input = context.Bytes(Input),
            InputScales = (float*)Unsafe.AsPointer(ref _scales[0]),
            InputZeroPoints = (byte*)Unsafe.AsPointer(ref _zeroPoints[0]),
            Epilogue = Epilogue.Bind(context, _bias),
        });
    }
}

using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

/// <summary>
/// A convolution or linear layer whose quantization is simulated in float: <c>y = layer(Q(x), Q(w))</c>. The codes are those of the integer contract, so that the exported layer computes the
/// same up to the rounding of float sums.
/// </summary>
/// <param name="weight">The weight.</param>
/// <param name="input">Quantizer of the input; null while only the weight is quantized.</param>
public sealed class FakeQuantizedLayer(FakeQuantizedWeight weight, FakeQuantizedInput? input)
{
    /// <summary>The weight.</summary>
    public FakeQuantizedWeight Weight { get; } = weight;

    /// <summary>Quantizer of the input, or null.</summary>
    public FakeQuantizedInput? Input { get; } = input;

    /// <summary>All that can be learned.</summary>
    public IEnumerable<Variable> Variables => Input is null ? Weight.Variables : Weight.Variables.Concat(Input.Variables);

    /// <summary>The layer in integers.</summary>
    /// <param name="op">The layer.</param>
    /// <param name="bias">Its bias, or null.</param>
    /// <exception cref="InvalidOperationException">The input is not quantized.</exception>
    public QuantizedModule Export(MatrixOp op, float[]? bias)
    {
        if (Input is null) throw new InvalidOperationException($"'{op.Module}' has a quantized weight and a float input, which the runtime does not compute in integers");
        QuantizedWeight codes = Weight.Export();
        return new QuantizedModule
        {
            Name = op.Module,
            WeightShape = op.WeightShape,
            WeightBits = Weight.Options.Bits,
            Codes = codes.Codes,
            WeightScales = codes.Scales,
            WeightZeroPoints = codes.ZeroPoints,
            GroupSize = Weight.Options.GroupSize,
            SplitChannel = Input.SplitChannel,
            Input = Input.ToTable(),
            InputChannelScales = Input.ChannelScales,
            Bias = bias,
        };
    }
}

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

    /// <summary>A layer whose rounding can be learned, starting from a quantized module.</summary>
    /// <param name="module">Steps, zero points and the input's table.</param>
    /// <param name="weight">The float weight, row-major, as the model stores it.</param>
    public static FakeQuantizedLayer Rounded(QuantizedModule module, float[] weight) => new(
        new RoundedWeight(module.Name, Dilated(module, weight), module.WeightShape, WeightOf(module), OptionsOf(module)), InputOf(module));

    /// <summary>A layer whose weight, steps and adapter can be learned under straight-through rounding, starting from a quantized module.</summary>
    /// <param name="module">Steps, zero points and the input's table.</param>
    /// <param name="weight">The float weight, row-major, as the model stores it.</param>
    /// <param name="rank">Inner dimension of a low-rank adapter (32 in EfficientDM), whose A is uniform within ±1/√K and whose B is zero; 0 for none.</param>
    /// <param name="seed">Seed of A.</param>
    public static FakeQuantizedLayer Learned(QuantizedModule module, float[] weight, int rank = 0, ulong seed = 0)
    {
        (float[], float[])? adapter = null;
        if (rank > 0)
        {
            float[] a = new float[rank * module.Depth];
            ulong key = Omission.Key(seed, module.Name);
            for (int i = 0; i < a.Length; i++) a[i] = (float)(((Mix.Hash(key + (ulong)i) >> 11) * (2.0 / (1UL << 53)) - 1) / Math.Sqrt(module.Depth));
            adapter = (a, new float[module.OutChannels * rank]);
        }

        return new FakeQuantizedLayer(new LearnedWeight(module.Name, Dilated(module, weight), module.WeightShape, WeightOf(module), OptionsOf(module), adapter), InputOf(module));
    }

    /// <summary>A layer whose codes are decided.</summary>
    /// <param name="module">Codes, steps, zero points and the input's table.</param>
    public static FakeQuantizedLayer Frozen(QuantizedModule module) => new(new FrozenWeight(WeightOf(module), module.WeightShape, OptionsOf(module)), InputOf(module));

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
            SplitChannel = Math.Max(Input.SplitChannel, Weight.Options.SplitChannel),
            Input = Input.ToTable(),
            InputChannelScales = Input.ChannelScales,
            Bias = bias,
        };
    }

    private static float[] Dilated(QuantizedModule module, float[] weight) => module.InputChannelScales is { } scales ? WeightDilation.Dilate(weight, scales, module.Taps) : weight;

    private static QuantizedWeight WeightOf(QuantizedModule module) => new(module.Codes, module.WeightScales, module.WeightZeroPoints);

    private static WeightQuantizerOptions OptionsOf(QuantizedModule module) => new(
        module.WeightBits,
        Symmetric: module.WeightZeroPoints is null,
        GroupSize: module.GroupSize,
        SplitChannel: module.GroupSize == 0 && module.WeightScales.Length == 2 * module.OutChannels ? module.SplitChannel : 0);

    private static FakeQuantizedInput InputOf(QuantizedModule module) => new(module.Name, module.Input, module.Input.Segments == 2 ? module.SplitChannel : 0, module.InputChannelScales);
}

using System.Globalization;
using System.Runtime.InteropServices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A quantized module and its tensors in the project's low-bit layout, canonical and row-major (docs/format.md). N outputs, K = Cin·kh·kw, G scales a row,
/// T timesteps, S halves of the input:
/// <code>
/// p.weight               I8   [N, Cin(, kh, kw)]      8 bits
/// p.weight_packed        U8   [N, ⌈K·bits/8⌉]         2 to 7 bits, unsigned codes
/// p.weight_scale         F32  [N] or [N, G]
/// p.weight_zero_point    U8   as weight_scale         asymmetric weights
/// p.input_scale          F32  [T] or [T, S]           T = 1: static
/// p.input_zero_point     U8   as input_scale
/// p.input_channel_scale  F32  [Cin]                   optional
/// p.bias                 F32  [N]                     where the network has one
/// </code>
/// </summary>
public static class LowBitCodec
{
    /// <summary>Reads a module and checks everything it says.</summary>
    /// <param name="source">The network's tensors.</param>
    /// <param name="config">How the network is quantized.</param>
    /// <param name="module">The module's name.</param>
    /// <param name="weightShape">Shape of the float weight in the network, <c>[out, in]</c> or <c>[out, in, kh, kw]</c>.</param>
    /// <param name="hasBias">Whether the network's layer has a bias.</param>
    /// <exception cref="ModelFormatException">A tensor is missing, superfluous, of another type or shape, or holds a value out of range.</exception>
    public static QuantizedModule Read(ITensorSource source, QuantizationConfig config, string module, TensorShape weightShape, bool hasBias)
        => new LowBitModuleReader(source, config, module, weightShape).Read(hasBias);

    /// <summary>Whether the source holds this module quantized.</summary>
    public static bool IsQuantized(ITensorSource source, string module) => source.Tensors.ContainsKey(module + ".weight_scale");

    /// <summary>Types and shapes of a module's tensors, in the order in which <see cref="Write"/> gives them.</summary>
    /// <exception cref="ArgumentException">The module's arrays do not fit its shape.</exception>
    public static IEnumerable<TensorInfo> Describe(QuantizedModule module) => Tensors(module).Select(tensor => tensor.Info);

    /// <summary>A module's tensors, each made when it is asked for.</summary>
    /// <exception cref="ArgumentException">The module's arrays do not fit its shape or its bits.</exception>
    public static IEnumerable<(TensorInfo Info, byte[] Bytes)> Write(QuantizedModule module) => Tensors(module).Select(tensor => (tensor.Info, tensor.Bytes()));

    /// <summary>Which of a row's scales belongs to an element of the row.</summary>
    internal static int ScaleColumn(int element, int taps, int groupSize, int splitChannel, int columns)
        => groupSize > 0 ? element / groupSize : columns == 2 && element >= splitChannel * taps ? 1 : 0;

    private static List<(TensorInfo Info, Func<byte[]> Bytes)> Tensors(QuantizedModule module)
    {
        int n = module.OutChannels, columns = Check(module);
        List<(TensorInfo, Func<byte[]>)> tensors = [];
        long[] scaleShape = module.GroupSize == 0 && columns == 1 ? [n] : [n, columns];
        long timesteps = module.Input.Timesteps.Length;
        long[] inputShape = module.Input.Segments == 1 ? [timesteps] : [timesteps, module.Input.Segments];

        if (module.WeightBits == 8)
            Add("weight", DType.I8, [.. module.WeightShape.Select(dimension => (long)dimension)], () => MemoryMarshal.AsBytes(Codes(module).AsSpan()).ToArray());
        else
            Add("weight_packed", DType.U8, [n, BitPacking.RowBytes(module.Depth, module.WeightBits)], () => BitPacking.Pack(UnsignedCodes(module, columns), module.Depth, module.WeightBits));
        AddSingles("weight_scale", scaleShape, module.WeightScales);
        if (module.WeightZeroPoints is { } zeroPoints) Add("weight_zero_point", DType.U8, scaleShape, () => [.. zeroPoints]);
        AddSingles("input_scale", inputShape, module.Input.Scales.ToArray());
        Add("input_zero_point", DType.U8, inputShape, () => Array.ConvertAll(module.Input.ZeroPoints.ToArray(), static value => (byte)value));
        if (module.InputChannelScales is { } channels) AddSingles("input_channel_scale", [module.InChannels], channels);
        if (module.Bias is { } bias) AddSingles("bias", [n], bias);
        return tensors;

        void Add(string name, DType type, long[] shape, Func<byte[]> bytes) => tensors.Add((new TensorInfo($"{module.Name}.{name}", type, shape), bytes));

        void AddSingles(string name, long[] shape, float[] values) => Add(name, DType.F32, shape, () => TensorConversion.FromSingles(DType.F32, values));
    }

    private static byte[] UnsignedCodes(QuantizedModule module, int columns)
    {
        sbyte[] centred = Codes(module);
        byte[] codes = new byte[centred.Length];
        int depth = module.Depth, taps = module.Taps;
        for (int i = 0; i < codes.Length; i++)
        {
            int row = i / depth, column = ScaleColumn(i % depth, taps, module.GroupSize, module.SplitChannel, columns);
            int zeroPoint = module.WeightZeroPoints?[row * columns + column] ?? 1 << (module.WeightBits - 1);
            int code = centred[i] + zeroPoint;
            if (code < 0 || code >= 1 << module.WeightBits)
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"'{module.Name}': code {centred[i]} with zero point {zeroPoint} does not fit in {module.WeightBits} bits"));
            codes[i] = (byte)code;
        }

        return codes;
    }

    // Not part of the check: it is what is largest, and may have to be read or made.
    private static sbyte[] Codes(QuantizedModule module)
    {
        sbyte[] codes = module.Codes;
        return codes.Length == module.WeightShape.Elements ? codes : throw new ArgumentException($"'{module.Name}': expected as many codes as weights, {module.WeightShape.Elements}, found {codes.Length}", nameof(module));
    }

    private static int Check(QuantizedModule module)
    {
        int n = module.OutChannels;
        int columns = module.WeightScales.Length / n;
        Require(module.WeightBits is >= 2 and <= 8, "weights have 2 to 8 bits");
        Require(columns > 0 && module.WeightScales.Length == n * columns, "scales for every output channel");
        Require(columns == (module.GroupSize > 0 ? module.Depth / module.GroupSize : columns == 2 && module.SplitChannel > 0 ? 2 : 1), "one scale per group, per half of a split or per output channel");
        Require(module.GroupSize == 0 || (module.GroupSize % module.Taps == 0 && module.Depth % module.GroupSize == 0), "groups of whole channels that divide the row");
        Require(module.SplitChannel >= 0 && module.SplitChannel < module.InChannels, "a split inside the input");
        Require(module.Input.Segments == (module.SplitChannel > 0 ? 2 : 1), "an activation quantizer for each half of a split");
        Require(module.WeightZeroPoints is null || (module.WeightBits < 8 && module.WeightZeroPoints.Length == module.WeightScales.Length), "a zero point for every scale, none for 8 bits");
        Require(module.InputChannelScales is null || module.InputChannelScales.Length == module.InChannels, "a scale for every input channel");
        Require(module.Bias is null || module.Bias.Length == n, "a bias for every output channel");
        return columns;

        void Require(bool holds, string expected)
        {
            if (!holds) throw new ArgumentException($"'{module.Name}': expected {expected}", nameof(module));
        }
    }
}

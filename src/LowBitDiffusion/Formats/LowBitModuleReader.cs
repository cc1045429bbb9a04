using System.Runtime.InteropServices;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Formats;

/// <summary>Reads one module of the low-bit layout, trusting nothing.</summary>
internal sealed class LowBitModuleReader(ITensorSource source, QuantizationConfig config, string module, TensorShape weightShape)
{
    // Packed rows are read in pieces that a core's cache holds.
    private const int PieceBytes = 1 << 18;

    private readonly ModulePrecision _precision = config.Precision(module);

    private readonly int _taps = weightShape.Rank == 4 ? weightShape[2] * weightShape[3] : 1;

    private int Outputs => weightShape[0];

    private int Inputs => weightShape[1];

    private int Depth => Inputs * _taps;

    private long[] PlainShape => [.. weightShape.Select(dimension => (long)dimension)];

    private long[] PackedShape => [Outputs, BitPacking.RowBytes(Depth, _precision.WeightBits)];

    public QuantizedModule Read(bool hasBias)
    {
        if (config.ModulesInFloat.Contains(module)) throw Error(null, "the quantization_config leaves this module in float");
        CheckPrecision();
        float[] scales = Positive("weight_scale", ScaleShape());
        int columns = scales.Length / Outputs;
        byte[]? zeroPoints = ReadZeroPoints(columns);
        string bias = Name("bias");
        if (!hasBias && source.Tensors.ContainsKey(bias)) throw Error("bias", "the network's layer has no bias");
        return new QuantizedModule
        {
            Name = module,
            WeightShape = weightShape,
            WeightBits = _precision.WeightBits,
            CodesReader = CodesReader(zeroPoints, columns),
            WeightScales = scales,
            WeightZeroPoints = zeroPoints,
            GroupSize = _precision.GroupSize,
            Input = ReadTable(),
            SplitChannel = _precision.SplitChannel,
            InputChannelScales = source.Tensors.ContainsKey(Name("input_channel_scale")) ? Positive("input_channel_scale", [Inputs]) : null,
            Bias = hasBias ? Finite("bias", [Outputs]) : null,
        };
    }

    private void CheckPrecision()
    {
        int group = _precision.GroupSize, split = _precision.SplitChannel;
        if (weightShape.Rank is not (2 or 4)) throw Error(null, $"expected a weight of 2 or 4 dimensions, found {weightShape}");
        if (group > 0 && (group % _taps != 0 || Depth % group != 0))
            throw Error(null, $"group_size must divide the {Depth} elements of a row and be a multiple of the kernel's {_taps} taps, found {group}");
        if (split >= Inputs) throw Error(null, $"split_channel must be below the {Inputs} input channels, found {split}");
    }

    // [N]; [N, G] with groups; [N, 2] where the halves of a split have weight scales of their own.
    private long[] ScaleShape()
    {
        if (_precision.GroupSize > 0) return [Outputs, Depth / _precision.GroupSize];
        return _precision.SplitChannel > 0 && Find("weight_scale").Shape.Count == 2 ? [Outputs, 2] : [Outputs];
    }

    private byte[]? ReadZeroPoints(int columns)
    {
        if (_precision.Symmetric)
            return source.Tensors.ContainsKey(Name("weight_zero_point")) ? throw Error("weight_zero_point", "symmetric weights have no zero points") : null;
        byte[] zeroPoints = Bytes("weight_zero_point", DType.U8, Find("weight_scale").Shape);
        int index = Array.FindIndex(zeroPoints, value => value >= 1 << _precision.WeightBits);
        if (index >= 0) throw Error("weight_zero_point", $"must be 0 to {(1 << _precision.WeightBits) - 1}, found {zeroPoints[index]} in row {index / columns}");
        return zeroPoints;
    }

    // What the header says is checked now; the codes themselves are read, and checked, when they are packed.
    private Action<Span<sbyte>> CodesReader(byte[]? zeroPoints, int columns)
    {
        if (_precision.WeightBits == 8)
        {
            CheckedInfo("weight", DType.I8, PlainShape);
            return ReadPlain;
        }

        CheckedInfo("weight_packed", DType.U8, PackedShape);
        return codes => ReadPacked(codes, zeroPoints, columns);
    }

    private void ReadPlain(Span<sbyte> codes)
    {
        source.ReadBytes(Name("weight"), MemoryMarshal.AsBytes(codes));
        int index = codes.IndexOf(sbyte.MinValue);
        if (index >= 0) throw Error("weight", $"codes must be -127 to 127, found -128 at element {index}");
    }

    private void ReadPacked(Span<sbyte> codes, byte[]? zeroPoints, int columns)
    {
        int bits = _precision.WeightBits, symmetric = 1 << (bits - 1), rowBytes = BitPacking.RowBytes(Depth, bits), rows = Math.Max(1, PieceBytes / rowBytes);
        byte[] packed = new byte[Math.Min(rows, Outputs) * rowBytes];
        for (int first = 0; first < Outputs; first += rows)
        {
            int count = Math.Min(rows, Outputs - first);
            Span<byte> piece = packed.AsSpan(0, count * rowBytes);
            source.ReadRange(Name("weight_packed"), (long)first * rowBytes, piece);
            BitPacking.Unpack(piece, MemoryMarshal.AsBytes(codes.Slice(first * Depth, count * Depth)), Depth, bits);
        }

        for (int row = 0; row < Outputs; row++)
        {
            Span<sbyte> line = codes.Slice(row * Depth, Depth);
            for (int k = 0; k < line.Length; k++)
            {
                int column = zeroPoints is null ? 0 : LowBitCodec.ScaleColumn(k, _taps, _precision.GroupSize, _precision.SplitChannel, columns);
                line[k] = (sbyte)(line[k] - (zeroPoints?[row * columns + column] ?? symmetric));
            }
        }
    }

    private TimestepTable ReadTable()
    {
        int segments = _precision.SplitChannel > 0 ? 2 : 1, count = config.Timesteps.Count;
        TensorInfo info = Find("input_scale");
        long entries = info.Shape.Count > 0 ? info.Shape[0] : 0;
        if (entries < 1 || (entries != 1 && entries != count)) throw Error("input_scale", $"expected {(count > 1 ? $"{count} entries, one per timestep, or " : "")}1 entry, found shape {info.ShapeText}");
        long[] shape = segments == 1 ? [entries] : [entries, segments];
        float[] scales = Positive("input_scale", shape);
        byte[] zeroPoints = Bytes("input_zero_point", DType.U8, shape);
        int index = Array.FindIndex(zeroPoints, value => value >= 1 << _precision.ActivationBits);
        if (index >= 0) throw Error("input_zero_point", $"must be 0 to {(1 << _precision.ActivationBits) - 1}, found {zeroPoints[index]} at entry {index / segments}");
        float[] timesteps = entries == count ? [.. config.Timesteps] : [0];
        return new TimestepTable(timesteps, scales, Array.ConvertAll(zeroPoints, value => (int)value), segments, _precision.ActivationBits);
    }

    private float[] Positive(string name, long[] shape)
    {
        float[] values = Singles(name, shape);
        int index = Array.FindIndex(values, value => !float.IsFinite(value) || value <= 0);
        return index < 0 ? values : throw Error(name, FormattableString.Invariant($"must be finite and positive, found {values[index]} at element {index}"));
    }

    private float[] Finite(string name, long[] shape)
    {
        float[] values = Singles(name, shape);
        int index = Array.FindIndex(values, value => !float.IsFinite(value));
        return index < 0 ? values : throw Error(name, FormattableString.Invariant($"must be finite, found {values[index]} at element {index}"));
    }

    private float[] Singles(string name, long[] shape)
    {
        float[] values = new float[CheckedInfo(name, DType.F32, shape).Elements];
        source.ReadBytes(Name(name), MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }

    private byte[] Bytes(string name, DType type, IReadOnlyList<long> shape)
    {
        CheckedInfo(name, type, shape);
        return source.ReadBytes(Name(name));
    }

    private TensorInfo CheckedInfo(string name, DType type, IReadOnlyList<long> shape)
    {
        TensorInfo info = Find(name);
        if (info.DType != type) throw Error(name, $"expected {DTypes.Name(type)}, found {info.TypeName}");
        if (!info.Shape.SequenceEqual(shape)) throw Error(name, $"expected shape [{string.Join(", ", shape)}], found {info.ShapeText}");
        return info;
    }

    private TensorInfo Find(string name) => source.Find(Name(name));

    private string Name(string name) => $"{module}.{name}";

    private ModelFormatException Error(string? name, string problem) => new(source.Origin, name is null ? module : Name(name), problem);
}

namespace LowBitDiffusion.Formats;

/// <summary>Names and sizes of the element types of the safetensors format.</summary>
public static class DTypes
{
    /// <summary>The type's name in a safetensors header, e.g. <c>F8_E4M3</c>; <c>unknown</c> for <see cref="DType.Unknown"/>.</summary>
    public static string Name(DType type) => type switch
    {
        DType.Bool => "BOOL",
        DType.F8E5M2 => "F8_E5M2",
        DType.F8E4M3 => "F8_E4M3",
        DType.Unknown => "unknown",
        _ => type.ToString(),
    };

    /// <summary>The type of that name, or <see cref="DType.Unknown"/> for any other name.</summary>
    public static DType Parse(string name) => name switch
    {
        "BOOL" => DType.Bool,
        "U8" => DType.U8,
        "I8" => DType.I8,
        "F8_E5M2" => DType.F8E5M2,
        "F8_E4M3" => DType.F8E4M3,
        "I16" => DType.I16,
        "U16" => DType.U16,
        "F16" => DType.F16,
        "BF16" => DType.BF16,
        "I32" => DType.I32,
        "U32" => DType.U32,
        "F32" => DType.F32,
        "F64" => DType.F64,
        "I64" => DType.I64,
        "U64" => DType.U64,
        _ => DType.Unknown,
    };

    /// <summary>Bytes of one element; 0 for <see cref="DType.Unknown"/>.</summary>
    public static int Size(DType type) => type switch
    {
        DType.Unknown => 0,
        DType.Bool or DType.U8 or DType.I8 or DType.F8E5M2 or DType.F8E4M3 => 1,
        DType.I16 or DType.U16 or DType.F16 or DType.BF16 => 2,
        DType.I32 or DType.U32 or DType.F32 => 4,
        _ => 8,
    };

    /// <summary>Bytes of a tensor of that type and shape; 0 for <see cref="DType.Unknown"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A dimension is negative.</exception>
    /// <exception cref="OverflowException">The size does not fit in 63 bits.</exception>
    public static long ByteLength(DType type, IReadOnlyList<long> shape) => checked(Elements(shape) * Size(type));

    internal static long Elements(IReadOnlyList<long> shape)
    {
        long elements = 1;
        foreach (long dimension in shape)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(dimension);
            elements = checked(elements * dimension);
        }

        return elements;
    }
}

namespace LowBitDiffusion.Formats;

/// <summary>Element types of the safetensors format.</summary>
public enum DType
{
    /// <summary>A type this library lists but cannot read (F4, F6, F8_E8M0 and what newer files bring).</summary>
    Unknown,
    /// <summary>One byte, 0 or 1.</summary>
    Bool,
    /// <summary>Unsigned 8 bits.</summary>
    U8,
    /// <summary>Signed 8 bits.</summary>
    I8,
    /// <summary>Float, 8 bits: 5 exponent, 2 mantissa.</summary>
    F8E5M2,
    /// <summary>Float, 8 bits: 4 exponent, 3 mantissa, no infinities.</summary>
    F8E4M3,
    /// <summary>Signed 16 bits.</summary>
    I16,
    /// <summary>Unsigned 16 bits.</summary>
    U16,
    /// <summary>IEEE half.</summary>
    F16,
    /// <summary>bfloat16.</summary>
    BF16,
    /// <summary>Signed 32 bits.</summary>
    I32,
    /// <summary>Unsigned 32 bits.</summary>
    U32,
    /// <summary>IEEE single.</summary>
    F32,
    /// <summary>IEEE double.</summary>
    F64,
    /// <summary>Signed 64 bits.</summary>
    I64,
    /// <summary>Unsigned 64 bits.</summary>
    U64,
}

/// <summary>What a file says of one tensor.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="DType">Its element type.</param>
/// <param name="Shape">Its dimensions, outermost first; empty for a scalar.</param>
/// <exception cref="ArgumentOutOfRangeException">A dimension is negative.</exception>
/// <exception cref="OverflowException">The size does not fit in 63 bits.</exception>
public sealed record TensorInfo(string Name, DType DType, IReadOnlyList<long> Shape)
{
    /// <summary>The type's name as the file gives it; the only thing known of a type that is <see cref="DType.Unknown"/>.</summary>
    public string TypeName { get; init; } = DTypes.Name(DType);

    /// <summary>Stored bytes. Follows from type and shape, except for <see cref="DType.Unknown"/>, where the file says it.</summary>
    public long ByteLength { get; init; } = DTypes.ByteLength(DType, Shape);

    /// <summary>Product of the dimensions; 1 for a scalar.</summary>
    public long Elements => DTypes.Elements(Shape);

    /// <summary>The shape in brackets, for messages.</summary>
    public string ShapeText => $"[{string.Join(", ", Shape)}]";
}

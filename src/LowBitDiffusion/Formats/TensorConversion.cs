using System.Numerics;
using System.Runtime.InteropServices;

namespace LowBitDiffusion.Formats;

/// <summary>Stored elements to single precision and back. Little-endian; every value of F16, BF16 and F8 is exact in single precision.</summary>
public static class TensorConversion
{
    // 256 values each, never written after construction.
    private static readonly float[] s_e4m3 = Float8Table(static code => E4M3(code));
    private static readonly float[] s_e5m2 = Float8Table(static code => (float)BitConverter.UInt16BitsToHalf((ushort)(code << 8)));

    /// <summary>Converts stored elements to single precision; integers are rounded to the nearest, booleans are 0 and 1.</summary>
    /// <param name="type">Type of the stored elements.</param>
    /// <param name="source">Their bytes, little-endian.</param>
    /// <param name="destination">One value per element.</param>
    /// <exception cref="ArgumentException">The type is <see cref="DType.Unknown"/> or the lengths do not fit.</exception>
    public static void ToSingles(DType type, ReadOnlySpan<byte> source, Span<float> destination)
    {
        int size = DTypes.Size(type);
        if (size == 0) throw new ArgumentException("elements of an unknown type cannot be read as numbers", nameof(type));
        if (source.Length != (long)destination.Length * size)
            throw new ArgumentException($"{destination.Length} elements of {DTypes.Name(type)} need {(long)destination.Length * size} bytes, found {source.Length}", nameof(source));
        switch (type)
        {
            case DType.F32: source.CopyTo(MemoryMarshal.AsBytes(destination)); break;
            case DType.F16: HalfToSingle(MemoryMarshal.Cast<byte, ushort>(source), destination); break;
            case DType.BF16: BFloat16ToSingle(MemoryMarshal.Cast<byte, ushort>(source), destination); break;
            case DType.F8E4M3: Lookup(s_e4m3, source, destination); break;
            case DType.F8E5M2: Lookup(s_e5m2, source, destination); break;
            case DType.Bool: for (int i = 0; i < source.Length; i++) destination[i] = source[i] == 0 ? 0 : 1; break;
            case DType.F64: Cast<double>(source, destination); break;
            case DType.U8: Cast<byte>(source, destination); break;
            case DType.I8: Cast<sbyte>(source, destination); break;
            case DType.U16: Cast<ushort>(source, destination); break;
            case DType.I16: Cast<short>(source, destination); break;
            case DType.U32: Cast<uint>(source, destination); break;
            case DType.I32: Cast<int>(source, destination); break;
            case DType.U64: Cast<ulong>(source, destination); break;
            default: Cast<long>(source, destination); break;
        }
    }

    /// <summary>Converts single precision to stored elements, rounding to the nearest, ties to even; too large values become infinite.</summary>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="source">The values.</param>
    /// <exception cref="ArgumentException">Another type.</exception>
    public static byte[] FromSingles(DType type, ReadOnlySpan<float> source)
    {
        byte[] bytes = new byte[checked(source.Length * DTypes.Size(type))];
        FromSingles(type, source, bytes);
        return bytes;
    }

    /// <inheritdoc cref="FromSingles(DType, ReadOnlySpan{float})"/>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <param name="source">The values.</param>
    /// <param name="destination">Their bytes, little-endian.</param>
    /// <exception cref="ArgumentException">Another type, or the lengths do not fit.</exception>
    public static void FromSingles(DType type, ReadOnlySpan<float> source, Span<byte> destination)
    {
        if (destination.Length != (long)source.Length * DTypes.Size(type))
            throw new ArgumentException($"{source.Length} elements of {DTypes.Name(type)} need {(long)source.Length * DTypes.Size(type)} bytes, found room for {destination.Length}", nameof(destination));
        Span<ushort> halves = MemoryMarshal.Cast<byte, ushort>(destination);
        switch (type)
        {
            case DType.F32: MemoryMarshal.AsBytes(source).CopyTo(destination); break;
            case DType.F16: for (int i = 0; i < source.Length; i++) halves[i] = BitConverter.HalfToUInt16Bits((Half)source[i]); break;
            case DType.BF16: for (int i = 0; i < source.Length; i++) halves[i] = SingleToBFloat16(source[i]); break;
            default: throw new ArgumentException($"floats are stored as F32, F16 or BF16, not {DTypes.Name(type)}", nameof(type));
        }
    }

    // Shifted by 13, exponent and mantissa of a half are those of a single whose exponent is 112 too small: a multiplication by 2^112 is exact for normal and
    // subnormal numbers alike. Infinities and NaNs need all exponent bits set.
    //
    //   half    s eeeee mmmmmmmmmm          single  s eeeeeeee mmmmmmmmmm0000000000000
    private static void HalfToSingle(ReadOnlySpan<ushort> source, Span<float> destination)
    {
        Vector<uint> sign = new(0x8000u), rest = new(0x7fffu), special = new(0x0f800000u), exponent = new(0x7f800000u);
        Vector<float> rescale = new(BitConverter.UInt32BitsToSingle(0x77800000u));
        int i = 0;
        for (; i <= source.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(source[i..]), out Vector<uint> low, out Vector<uint> high);
            Expand(low).CopyTo(destination[i..]);
            Expand(high).CopyTo(destination[(i + Vector<uint>.Count)..]);
        }

        for (; i < source.Length; i++) destination[i] = (float)BitConverter.UInt16BitsToHalf(source[i]);

        Vector<float> Expand(Vector<uint> half)
        {
            Vector<uint> magnitude = (half & rest) << 13;
            Vector<uint> scaled = Vector.AsVectorUInt32(Vector.AsVectorSingle(magnitude) * rescale);
            scaled |= Vector.GreaterThanOrEqual(magnitude, special) & exponent;
            return Vector.AsVectorSingle(scaled | ((half & sign) << 16));
        }
    }

    private static void BFloat16ToSingle(ReadOnlySpan<ushort> source, Span<float> destination)
    {
        Span<uint> bits = MemoryMarshal.Cast<float, uint>(destination);
        for (int i = 0; i < source.Length; i++) bits[i] = (uint)source[i] << 16;
    }

    private static ushort SingleToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        // Rounding could carry a NaN's payload into the sign: keep its upper half and make it quiet.
        if (float.IsNaN(value)) return (ushort)((bits >> 16) | 0x40);
        return (ushort)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }

    private static void Cast<T>(ReadOnlySpan<byte> source, Span<float> destination) where T : unmanaged, INumberBase<T>
    {
        ReadOnlySpan<T> values = MemoryMarshal.Cast<byte, T>(source);
        for (int i = 0; i < values.Length; i++) destination[i] = float.CreateTruncating(values[i]);
    }

    private static void Lookup(float[] table, ReadOnlySpan<byte> source, Span<float> destination)
    {
        for (int i = 0; i < source.Length; i++) destination[i] = table[source[i]];
    }

    private static float[] Float8Table(Func<int, float> value) => [.. Enumerable.Range(0, 256).Select(value)];

    // s eeee mmm, bias 7: no infinities, only all ones is NaN, so the largest number is 448.
    private static float E4M3(int code)
    {
        int exponent = (code >> 3) & 15, mantissa = code & 7;
        float magnitude = (exponent, mantissa) switch
        {
            (15, 7) => float.NaN,
            (0, _) => MathF.ScaleB(mantissa, -9),
            _ => MathF.ScaleB(8 + mantissa, exponent - 10),
        };
        return code >= 128 ? -magnitude : magnitude;
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>How eight queries multiply bytes.</summary>
internal interface IDot256
{
    /// <summary>See <see cref="IByteLanes{TFloat, TInt}.Dot"/>.</summary>
    static abstract Vector256<int> Dot(Vector256<int> sum, Vector256<int> unsigned, Vector256<int> signed);
}

/// <summary><c>vpdpbusd</c>.</summary>
internal readonly struct AvxVnniDot : IDot256
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Dot(Vector256<int> sum, Vector256<int> unsigned, Vector256<int> signed) =>
        AvxVnni.MultiplyWideningAndAdd(sum, unsigned.AsByte(), signed.AsSByte());
}

/// <summary>Even and odd bytes apart as 16 bits, then <c>vpmaddwd</c>: <c>vpmaddubsw</c> would saturate.</summary>
internal readonly struct Avx2Dot : IDot256
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Dot(Vector256<int> sum, Vector256<int> unsigned, Vector256<int> signed)
    {
        Vector256<short> evenSigned = Avx2.ShiftRightArithmetic(Avx2.ShiftLeftLogical(signed.AsInt16(), 8), 8), oddSigned = Avx2.ShiftRightArithmetic(signed.AsInt16(), 8);
        Vector256<short> even = Avx2.And(unsigned, Vector256.Create(0x00FF00FF)).AsInt16(), odd = Avx2.ShiftRightLogical(unsigned.AsInt16(), 8);
        return Avx2.Add(Avx2.Add(sum, Avx2.MultiplyAddAdjacent(even, evenSigned)), Avx2.MultiplyAddAdjacent(odd, oddSigned));
    }
}

/// <summary>Eight queries: AVX2.</summary>
internal readonly unsafe struct ByteLanes256<TDot> : IByteLanes<Vector256<float>, Vector256<int>> where TDot : struct, IDot256
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Load(void* source) => Avx.LoadVector256((int*)source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* destination, Vector256<int> value) => Avx.Store((int*)destination, value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Dot(Vector256<int> sum, Vector256<int> unsigned, int signed) => TDot.Dot(sum, unsigned, Vector256.Create(signed));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ToFloat(Vector256<int> value) => Avx.ConvertToVector256Single(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Round(Vector256<float> value) => Avx.ConvertToVector256Int32(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Interleave(Vector256<int> first, Vector256<int> second, Vector256<int> third, Vector256<int> fourth)
    {
        // Packing leaves, in each 128 bits, four bytes of the first vector, four of the second, …: a square of bytes to transpose.
        Vector256<byte> packed = Avx2.PackUnsignedSaturate(Avx2.PackSignedSaturate(first, second), Avx2.PackSignedSaturate(third, fourth));
        Vector256<byte> transpose = Vector256.Create(Vector128.Create((byte)0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        return Avx2.Shuffle(packed, transpose).AsInt32();
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Create(int value) => Vector256.Create(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Xor(Vector256<int> x, Vector256<int> y) => Avx2.Xor(x, y);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Fraction(Vector256<float> x) => Avx.Subtract(x, Avx.Floor(x));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ScaleByFloor(Vector256<float> value, Vector256<float> x) =>
        Avx2.Add(value.AsInt32(), Avx2.ShiftLeftLogical(Avx.ConvertToVector256Int32(Avx.Floor(Avx.Max(x, Vector256.Create(-100f)))), 23)).AsSingle();
}

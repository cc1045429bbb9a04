using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>Sixteen queries: AVX-512 F, BW and DQ.</summary>
internal readonly unsafe struct ByteLanes512 : IByteLanes<Vector512<float>, Vector512<int>>
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Load(void* source) => Avx512F.LoadVector512((int*)source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* destination, Vector512<int> value) => Avx512F.Store((int*)destination, value);

    /// <summary>Even and odd bytes apart as 16 bits, then <c>vpmaddwd</c>: <c>vpmaddubsw</c> would saturate.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Dot(Vector512<int> sum, Vector512<int> unsigned, int signed)
    {
        Vector512<short> s = Vector512.Create(signed).AsInt16();
        Vector512<short> evenSigned = Avx512BW.ShiftRightArithmetic(Avx512BW.ShiftLeftLogical(s, 8), 8), oddSigned = Avx512BW.ShiftRightArithmetic(s, 8);
        Vector512<short> even = Avx512F.And(unsigned, Vector512.Create(0x00FF00FF)).AsInt16(), odd = Avx512BW.ShiftRightLogical(unsigned.AsInt16(), 8);
        return Avx512F.Add(Avx512F.Add(sum, Avx512BW.MultiplyAddAdjacent(even, evenSigned)), Avx512BW.MultiplyAddAdjacent(odd, oddSigned));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ToFloat(Vector512<int> value) => Avx512F.ConvertToVector512Single(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Round(Vector512<float> value) => Avx512F.ConvertToVector512Int32(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Interleave(Vector512<int> first, Vector512<int> second, Vector512<int> third, Vector512<int> fourth)
    {
        // Packing leaves, in each 128 bits, four bytes of the first vector, four of the second, …: a square of bytes to transpose.
        Vector512<byte> packed = Avx512BW.PackUnsignedSaturate(Avx512BW.PackSignedSaturate(first, second), Avx512BW.PackSignedSaturate(third, fourth));
        Vector512<ulong> transpose = Vector512.Create(
            0x0D0905010C080400UL, 0x0F0B07030E0A0602, 0x0D0905010C080400, 0x0F0B07030E0A0602, 0x0D0905010C080400, 0x0F0B07030E0A0602, 0x0D0905010C080400, 0x0F0B07030E0A0602);
        return Avx512BW.Shuffle(packed, transpose.AsByte()).AsInt32();
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Create(int value) => Vector512.Create(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<int> Xor(Vector512<int> x, Vector512<int> y) => Avx512F.Xor(x, y);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Fraction(Vector512<float> x) => Avx512DQ.Reduce(x, 1);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ScaleByFloor(Vector512<float> value, Vector512<float> x) => Avx512F.Scale(value, x);
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>Four queries, portable.</summary>
internal readonly unsafe struct ByteLanes128 : IByteLanes<Vector128<float>, Vector128<int>>
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Load(void* source) => Vector128.Load((int*)source);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* destination, Vector128<int> value) => value.Store((int*)destination);

    /// <summary>A product of bytes, at most 255·127 in size, fits 16 bits; two of them are widened at a time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Dot(Vector128<int> sum, Vector128<int> unsigned, int signed)
    {
        Vector128<short> s = Vector128.Create(signed).AsInt16();
        Vector128<int> even = ((unsigned & Vector128.Create(0x00FF00FF)).AsInt16() * Vector128.ShiftRightArithmetic(Vector128.ShiftLeft(s, 8), 8)).AsInt32();
        Vector128<int> odd = (Vector128.ShiftRightLogical(unsigned.AsUInt16(), 8).AsInt16() * Vector128.ShiftRightArithmetic(s, 8)).AsInt32();
        return sum + ((even << 16) >> 16) + (even >> 16) + ((odd << 16) >> 16) + (odd >> 16);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ToFloat(Vector128<int> value) => Vector128.ConvertToSingle(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Round(Vector128<float> value) => Vector128.ConvertToInt32(Vector128.Round(value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Interleave(Vector128<int> first, Vector128<int> second, Vector128<int> third, Vector128<int> fourth) =>
        first | (second << 8) | (third << 16) | (fourth << 24);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Create(int value) => Vector128.Create(value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<int> Xor(Vector128<int> x, Vector128<int> y) => x ^ y;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Fraction(Vector128<float> x) => x - Vector128.Floor(x);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ScaleByFloor(Vector128<float> value, Vector128<float> x) =>
        (value.AsInt32() + (Vector128.ConvertToInt32(Vector128.Floor(Vector128.Max(x, Vector128.Create(-100f)))) << 23)).AsSingle();
}

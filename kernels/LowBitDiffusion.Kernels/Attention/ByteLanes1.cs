using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>One query: the reference.</summary>
internal readonly unsafe struct ByteLanes1 : IByteLanes<float, int>
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Load(void* source) => *(int*)source;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(void* destination, int value) => *(int*)destination = value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Dot(int sum, int unsigned, int signed)
    {
        for (int shift = 0; shift < 32; shift += 8) sum += (byte)(unsigned >> shift) * (sbyte)(signed >> shift);
        return sum;
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ToFloat(int value) => value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Round(float value) => (int)MathF.Round(value, MidpointRounding.ToEven);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Interleave(int first, int second, int third, int fourth) => first | (second << 8) | (third << 16) | (fourth << 24);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Create(int value) => value;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Xor(int x, int y) => x ^ y;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Fraction(float x) => x - MathF.Floor(x);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float ScaleByFloor(float value, float x) => MathF.ScaleB(value, (int)MathF.Floor(Math.Max(x, -100)));
}

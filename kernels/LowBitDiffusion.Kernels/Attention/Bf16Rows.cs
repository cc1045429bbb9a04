using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>Numbers as bfloat16: the upper half of a float, rounded to nearest, halves to even. Numbers are finite.</summary>
internal static unsafe class Bf16Rows
{
    /// <summary>1 as bfloat16.</summary>
    public const ushort One = 0x3F80;

    /// <summary>A number as bfloat16.</summary>
    public static ushort Round(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>A row less its means; null for none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Round(float* row, float* means, ushort* target, int count)
    {
        int i = 0;
        for (; i <= count - 8; i += 8) Vector128.Narrow(Bits(row, means, i), Bits(row, means, i + 4)).Store(target + i);
        for (; i < count; i++) target[i] = Round(means == null ? row[i] : row[i] - means[i]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> Bits(float* row, float* means, int at)
    {
        Vector128<float> x = Vector128.Load(row + at);
        Vector128<uint> bits = (means == null ? x : x - Vector128.Load(means + at)).AsUInt32();
        return (bits + Vector128.Create(0x7FFFu) + ((bits >> 16) & Vector128<uint>.One)) >> 16;
    }
}

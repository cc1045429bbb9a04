using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// Codes of rows of numbers: <c>round(fma(x, 127/max|x|, 128))</c>, 1 … 255. Rows that are no whole number of vectors end in one that covers some elements again.
/// </summary>
internal static unsafe class Int8Rows<TSimd, TVector> where TSimd : struct, ISimd<TVector> where TVector : struct
{
    /// <summary>The largest code.</summary>
    public const float MaxCode = 127;

    /// <summary>Anything smaller counts as nothing.</summary>
    public const float Least = 1e-30f;

    /// <summary>The largest magnitude of a row less its means; null for none.</summary>
    public static float Largest(float* row, float* means, int count)
    {
        if (count < TSimd.Count) return Largest<Simd1, float>(row, means, count);
        return Largest<TSimd, TVector>(row, means, count);
    }

    /// <summary>Writes the codes of a row whose <see cref="Largest"/> is known.</summary>
    public static void Quantize(float* row, float* means, byte* codes, int count, float largest)
    {
        float inverse = MaxCode / Math.Max(largest, Least);
        if (count < TSimd.Count) Quantize<Simd1, float>(row, means, codes, count, inverse);
        else Quantize<TSimd, TVector>(row, means, codes, count, inverse);
    }

    /// <summary>The code of x in the lowest byte of each lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TInt Code<TLanes, TInt>(TVector x, TVector inverse) where TLanes : struct, IByteLanes<TVector, TInt> where TInt : struct =>
        TLanes.Round(TSimd.FusedMultiplyAdd(x, inverse, TSimd.Create(128)));

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Largest<TS, TV>(float* row, float* means, int count) where TS : struct, ISimd<TV> where TV : struct
    {
        TV largest = default;
        for (int i = 0; i < count; i += TS.Count) largest = TS.Max(largest, TS.Abs(Load<TS, TV>(row, means, Math.Min(i, count - TS.Count))));
        return TS.MaxAcross(largest);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Quantize<TS, TV>(float* row, float* means, byte* codes, int count, float inverse) where TS : struct, ISimd<TV> where TV : struct
    {
        for (int i = 0; i < count; i += TS.Count)
        {
            int at = Math.Min(i, count - TS.Count);
            TS.StoreCodes(codes + at, TS.FusedMultiplyAdd(Load<TS, TV>(row, means, at), TS.Create(inverse), TS.Create(128)), 0, byte.MaxValue);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TV Load<TS, TV>(float* row, float* means, int at) where TS : struct, ISimd<TV> where TV : struct =>
        means == null ? TS.Load(row + at) : TS.Subtract(TS.Load(row + at), TS.Load(means + at));
}

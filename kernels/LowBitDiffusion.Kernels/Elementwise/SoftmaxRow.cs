using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>The passes of a softmax over one row.</summary>
internal static unsafe class SoftmaxRow<TSimd, TVector> where TSimd : struct, ISimd<TVector> where TVector : struct
{
    /// <summary>Interleaved partial sums, so that their order does not depend on the width: element i goes to sum i mod 32.</summary>
    public const int Lanes = 32;

    /// <summary>The largest element, at least <paramref name="atLeast"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Max(float* row, int count, float atLeast)
    {
        int i = 0;
        TVector vector = TSimd.Create(atLeast);
        for (; i <= count - TSimd.Count; i += TSimd.Count) vector = TSimd.Max(vector, TSimd.Load(row + i));
        float max = TSimd.MaxAcross(vector);
        for (; i < count; i++) max = Simd1.Max(max, row[i]);
        return max;
    }

    /// <summary>Writes <c>e^(x − max)</c> and adds the results to the partial sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Exponentiate(float* row, float* output, int count, float max, float* lanes)
    {
        TVector offset = TSimd.Create(max);
        int i = 0;
        for (; i <= count - Lanes; i += Lanes)
        {
            for (int lane = 0; lane < Lanes; lane += TSimd.Count)
            {
                TVector e = Functions.Exp<TSimd, TVector>(TSimd.Subtract(TSimd.Load(row + i + lane), offset));
                TSimd.Store(output + i + lane, e);
                TSimd.Store(lanes + lane, TSimd.Add(TSimd.Load(lanes + lane), e));
            }
        }

        for (int lane = 0; i < count; i++, lane++)
        {
            output[i] = Functions.Exp(row[i] - max);
            lanes[lane] += output[i];
        }
    }

    /// <summary>The sum of the partial sums, which it overwrites.</summary>
    public static float Sum(float* lanes)
    {
        for (int half = Lanes / 2; half > 0; half /= 2)
        {
            for (int lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
        }

        return lanes[0];
    }

    /// <summary><c>output = row·factor</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scale(float* row, float* output, int count, float factor)
    {
        TVector vector = TSimd.Create(factor);
        int i = 0;
        for (; i <= count - TSimd.Count; i += TSimd.Count) TSimd.Store(output + i, TSimd.Multiply(TSimd.Load(row + i), vector));
        for (; i < count; i++) output[i] = row[i] * factor;
    }
}

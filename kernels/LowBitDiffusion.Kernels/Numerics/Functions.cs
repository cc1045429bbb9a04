using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>
/// Elementary functions from additions, multiplications and divisions alone, written once for every width: the same bits everywhere. The overloads on one
/// number are
/// the reference. Largest errors over the whole range, tested, in units in the last place of the exact result (of the smallest normal number below it):
/// exp 2, sigmoid 3 (0 below −88.7 instead of subnormal numbers), tanh 6, erf 7.
/// </summary>
/// <remarks>The coefficients are minimax fits (Remez exchange in 70 digits) for these very intervals, rounded to float.</remarks>
public static class Functions
{
    /// <summary>e^x; 0 below −104, ∞ above 88.73.</summary>
    public static float Exp(float x) => Exp<Simd1, float>(x);

    /// <summary>1/(1 + e^−x).</summary>
    public static float Sigmoid(float x) => Sigmoid<Simd1, float>(x);

    /// <summary>Hyperbolic tangent.</summary>
    public static float Tanh(float x) => Tanh<Simd1, float>(x);

    /// <summary>Error function.</summary>
    public static float Erf(float x) => Erf<Simd1, float>(x);

    /// <summary>e^x = 2^n·e^r with n = round(x/ln 2), |r| ≤ ½ ln 2, and e^r ≈ 1 + r + r²·q(r), q of degree 4 (relative error 1.1e−8).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Exp<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        // Beyond these bounds the result is 0 or ∞ anyway. The order of the operands lets a NaN through.
        x = TSimd.Min(TSimd.Create(89), TSimd.Max(TSimd.Create(-105), x));
        TVector n = TSimd.RoundToEven(TSimd.Multiply(x, TSimd.Create(1.442695041f)));

        // ln 2 in two parts: the first has 15 bits, so its product with n is exact.
        TVector r = TSimd.Subtract(x, TSimd.Multiply(n, TSimd.Create(0.693145751953125f)));
        r = TSimd.Subtract(r, TSimd.Multiply(n, TSimd.Create(1.428606820309417e-6f)));

        TVector q = TSimd.Create(0.0013926175888627768f);
        q = Horner<TSimd, TVector>(q, r, 0.008363173343241215f);
        q = Horner<TSimd, TVector>(q, r, 0.041666556149721146f);
        q = Horner<TSimd, TVector>(q, r, 0.16666577756404877f);
        q = Horner<TSimd, TVector>(q, r, 0.5f);
        TVector y = TSimd.Add(TSimd.Add(TSimd.Multiply(TSimd.Multiply(r, r), q), r), TSimd.Create(1));
        return TSimd.ScaleByPowerOfTwo(y, n);
    }

    /// <summary>1/(1 + e^−x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Sigmoid<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Divide(TSimd.Create(1), OnePlusExpOfNegated<TSimd, TVector>(x));

    /// <summary>1 + e^−x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector OnePlusExpOfNegated<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Add(TSimd.Create(1), Exp<TSimd, TVector>(TSimd.Subtract(TSimd.Create(0), x)));

    /// <summary>x·p(x²)/q(x²), p of degree 5, q of degree 4 (relative error 1.3e−9); 1 from 9.02 on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Tanh<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        TVector t = TSimd.Multiply(x, x);
        TVector p = TSimd.Create(-1.2203467403271162e-11f);
        p = Horner<TSimd, TVector>(p, t, 3.058501718555817e-08f);
        p = Horner<TSimd, TVector>(p, t, 2.8007454602629878e-05f);
        p = Horner<TSimd, TVector>(p, t, 0.0038683274760842323f);
        p = Horner<TSimd, TVector>(p, t, 0.1367991417646408f);
        p = Horner<TSimd, TVector>(p, t, 1);
        TVector q = TSimd.Create(1.2873663308710093e-06f);
        q = Horner<TSimd, TVector>(q, t, 0.0003938630688935518f);
        q = Horner<TSimd, TVector>(q, t, 0.027245838195085526f);
        q = Horner<TSimd, TVector>(q, t, 0.4701324701309204f);
        q = Horner<TSimd, TVector>(q, t, 1);
        return Saturate<TSimd, TVector>(x, TSimd.Divide(TSimd.Multiply(x, p), q), 9.02f);
    }

    /// <summary>x·p(x²)/q(x²), both of degree 5 (relative error 2e−8); 1 from 3.93 on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Erf<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        TVector t = TSimd.Multiply(x, x);
        TVector p = TSimd.Create(2.041967036348069e-06f);
        p = Horner<TSimd, TVector>(p, t, 0.0002848086296580732f);
        p = Horner<TSimd, TVector>(p, t, 0.003779618302360177f);
        p = Horner<TSimd, TVector>(p, t, 0.052790313959121704f);
        p = Horner<TSimd, TVector>(p, t, 0.19078406691551208f);
        p = Horner<TSimd, TVector>(p, t, 1.1283791065216064f);
        TVector q = TSimd.Create(3.8004036468919367e-05f);
        q = Horner<TSimd, TVector>(q, t, 0.0011652145767584443f);
        q = Horner<TSimd, TVector>(q, t, 0.014997456222772598f);
        q = Horner<TSimd, TVector>(q, t, 0.11425761878490448f);
        q = Horner<TSimd, TVector>(q, t, 0.5024107098579407f);
        q = Horner<TSimd, TVector>(q, t, 1);
        return Saturate<TSimd, TVector>(x, TSimd.Divide(TSimd.Multiply(x, p), q), 3.93f);
    }

    /// <summary>acc·x + coefficient, rounded twice.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Horner<TSimd, TVector>(TVector acc, TVector x, float coefficient) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Add(TSimd.Multiply(acc, x), TSimd.Create(coefficient));

    /// <summary>y, or ±1 where |x| has reached the bound; never beyond ±1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Saturate<TSimd, TVector>(TVector x, TVector y, float bound) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        TVector one = TSimd.Create(1);
        y = TSimd.Min(one, TSimd.Max(TSimd.Create(-1), y));
        return TSimd.SelectAtLeast(TSimd.Abs(x), TSimd.Create(bound), TSimd.CopySign(one, x), y);
    }
}

using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>
/// Elementary functions from additions, multiplications (fused with them where the processor can) and divisions alone, written once for every width: the same bits at all of them. The overloads on one
/// number are the reference. Largest errors over the whole range, tested, in units in the last place of the exact result (of the smallest normal number below it):
/// exp 2, sigmoid 3 (0 below −88.7 instead of subnormal numbers); largest errors of both Φ: 2e−7.
/// </summary>
/// <remarks>The coefficients are minimax fits (Remez exchange in 70 digits) for these very intervals, rounded to float.</remarks>
public static class Functions
{
    /// <summary>e^x; 0 below −104, ∞ above 88.73.</summary>
    public static float Exp(float x) => Exp<Simd1, float>(x);

    /// <summary>1/(1 + e^−x).</summary>
    public static float Sigmoid(float x) => Sigmoid<Simd1, float>(x);

    /// <summary>Φ(x) = ½(1 + erf(x/√2)), the normal distribution; 0 from −5.65 down.</summary>
    public static float Phi(float x) => Phi<Simd1, float>(x);

    /// <summary>Φ by its approximation ½(1 + tanh(√(2/π)·(x + 0.044715x³))); 0 from −5.11 down.</summary>
    public static float PhiTanh(float x) => PhiTanh<Simd1, float>(x);

    /// <summary>e^x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Exp<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct => ExpOf<TSimd, TVector>(x, 1);

    /// <summary>
    /// e^(s·x) for s = ±1: 2^n·e^(s·r) with n = round(s·x/ln 2), r = x − s·n·ln 2, |r| ≤ ½ ln 2, and e^r ≈ 1 + r + r²·q(r), q of degree 4 (relative error 1.1e−8). The sign is in the coefficients.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector ExpOf<TSimd, TVector>(TVector x, float s) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        // Beyond these bounds the result is 0 or ∞ anyway. The order of the operands lets a NaN through.
        x = TSimd.Min(TSimd.Create(s > 0 ? 89 : 105), TSimd.Max(TSimd.Create(s > 0 ? -105 : -89), x));
        TVector n = TSimd.RoundToEven(TSimd.Multiply(x, TSimd.Create(s * 1.442695041f)));

        // ln 2 in two parts; what the first leaves of x is exact.
        TVector r = TSimd.MultiplyAdd(n, TSimd.Create(s * -0.693145751953125f), x);
        r = TSimd.MultiplyAdd(n, TSimd.Create(s * -1.428606820309417e-6f), r);

        TVector y = TSimd.Create(0.0013926175888627768f);
        y = Horner<TSimd, TVector>(y, r, s * 0.008363173343241215f);
        y = Horner<TSimd, TVector>(y, r, 0.041666556149721146f);
        y = Horner<TSimd, TVector>(y, r, s * 0.16666577756404877f);
        y = Horner<TSimd, TVector>(y, r, 0.5f);
        y = Horner<TSimd, TVector>(y, r, s);
        y = Horner<TSimd, TVector>(y, r, 1);
        return TSimd.ScaleByPowerOfTwo(y, n);
    }

    /// <summary>1/(1 + e^−x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Sigmoid<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Divide(TSimd.Create(1), OnePlusExpOfNegated<TSimd, TVector>(x));

    /// <summary>1 + e^−x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector OnePlusExpOfNegated<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Add(TSimd.Create(1), ExpOf<TSimd, TVector>(x, -1));

    /// <summary>½ + c·p(c²)/q(c²), both of degree 5 (error 2e−8), c = x within ±5.65.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector Phi<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        TVector c = Within<TSimd, TVector>(x, 5.65f), t = TSimd.Multiply(c, c);
        TVector p = Polynomial<TSimd, TVector>(t, 0.3989422023296356f, 0.03400003910064697f, 0.004687428940087557f, 0.0001706534094410017f, 6.390713679138571e-06f, 2.275675470286842e-08f);
        TVector q = Polynomial<TSimd, TVector>(t, 1, 0.25189095735549927f, 0.028733469545841217f, 0.0018940059235319495f, 7.439327600877732e-05f, 1.200861902361794e-06f);
        return HalfPlusQuotient<TSimd, TVector>(c, p, q);
    }

    /// <summary>½ + c·p(c²)/q(c²), both of degree 5 (error 2.5e−8), c = x within ±5.11: no tanh, and no cube inside of it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector PhiTanh<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        TVector c = Within<TSimd, TVector>(x, 5.11f), t = TSimd.Multiply(c, c);
        TVector p = Polynomial<TSimd, TVector>(t, 0.39894232153892517f, 0.029981302097439766f, 0.003612260101363063f, 0.0001299885188927874f, 7.043353434710298e-06f, 2.439769808404435e-08f);
        TVector q = Polynomial<TSimd, TVector>(t, 1, 0.24264465272426605f, 0.024121727794408798f, 0.0012791940243914723f, 7.473042933270335e-05f, 1.3257315458758967e-06f);
        return HalfPlusQuotient<TSimd, TVector>(c, p, q);
    }

    /// <summary>acc·x + coefficient.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Horner<TSimd, TVector>(TVector acc, TVector x, float coefficient) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.MultiplyAdd(acc, x, TSimd.Create(coefficient));

    /// <summary>x within ±bound. The order of the operands lets a NaN through.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Within<TSimd, TVector>(TVector x, float bound) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Min(TSimd.Create(bound), TSimd.Max(TSimd.Create(-bound), x));

    /// <summary>a₀ + t·(a₁ + t·(a₂ + t·(a₃ + t·(a₄ + t·a₅)))).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Polynomial<TSimd, TVector>(TVector t, float a0, float a1, float a2, float a3, float a4, float a5) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        TVector y = Horner<TSimd, TVector>(Horner<TSimd, TVector>(TSimd.Create(a5), t, a4), t, a3);
        return Horner<TSimd, TVector>(Horner<TSimd, TVector>(Horner<TSimd, TVector>(y, t, a2), t, a1), t, a0);
    }

    /// <summary>½ + c·p/q, never negative. The bound of c is a number at which the quotient is −½, so that 0 is reached.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector HalfPlusQuotient<TSimd, TVector>(TVector c, TVector p, TVector q) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Max(TSimd.Create(0), TSimd.Add(TSimd.Create(0.5f), TSimd.Divide(TSimd.Multiply(c, p), q)));
}

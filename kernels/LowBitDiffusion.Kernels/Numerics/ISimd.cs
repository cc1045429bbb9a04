namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>
/// The operations that float kernels are written in, over a vector of some width. Each is one correctly rounded IEEE operation per lane, so a kernel that uses
/// them
/// (and splits its sums alike) gives the same bits at every width; with one lane it is its own reference.
/// </summary>
/// <typeparam name="TVector">The vector, e.g. <c>Vector512&lt;float&gt;</c>; <c>float</c> for one lane.</typeparam>
internal unsafe interface ISimd<TVector> where TVector : struct
{
    /// <summary>Lanes.</summary>
    static abstract int Count { get; }

    /// <summary>The same number in all lanes.</summary>
    static abstract TVector Create(float value);

    /// <summary>Unaligned load.</summary>
    static abstract TVector Load(float* source);

    /// <summary>Unaligned store.</summary>
    static abstract void Store(float* destination, TVector value);

    /// <summary>Stores <c>clamp(round_half_even(x) + zeroPoint, 0, maxCode)</c> as bytes; what is not a number becomes 0.</summary>
    static abstract void StoreCodes(byte* destination, TVector x, int zeroPoint, int maxCode);

    /// <summary>x + y.</summary>
    static abstract TVector Add(TVector x, TVector y);

    /// <summary>x − y.</summary>
    static abstract TVector Subtract(TVector x, TVector y);

    /// <summary>x·y.</summary>
    static abstract TVector Multiply(TVector x, TVector y);

    /// <summary>x / y.</summary>
    static abstract TVector Divide(TVector x, TVector y);

    /// <summary>x·y + z with one rounding, or with two at every width if the processor has no such instruction (<see cref="Simd1.Fuses"/>).</summary>
    static abstract TVector MultiplyAdd(TVector x, TVector y, TVector z);

    /// <summary>x·y + z with one rounding on every processor; slow where it has no such instruction.</summary>
    static abstract TVector FusedMultiplyAdd(TVector x, TVector y, TVector z);

    /// <summary>x &gt; y ? x : y, hence y if one is not a number.</summary>
    static abstract TVector Max(TVector x, TVector y);

    /// <summary>x &lt; y ? x : y, hence y if one is not a number.</summary>
    static abstract TVector Min(TVector x, TVector y);

    /// <summary>The largest lane, if all are numbers.</summary>
    static abstract float MaxAcross(TVector x);

    /// <summary>|x|.</summary>
    static abstract TVector Abs(TVector x);

    /// <summary>Nearest whole number, halves to the even one.</summary>
    static abstract TVector RoundToEven(TVector x);

    /// <summary>x·2^n for 0.5 ≤ x ≤ 2 and whole n, −150 ≤ n ≤ 128, rounded once (to a subnormal or to infinity where need be).</summary>
    static abstract TVector ScaleByPowerOfTwo(TVector x, TVector n);
}

/// <summary>Work written over the width of a vector.</summary>
internal interface ISimdJob
{
    /// <summary>Does it.</summary>
    void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct;
}

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// What attention in integers needs beside <see cref="Numerics.ISimd{TVector}"/>: a lane is a query, and holds a sum, a number or four bytes.
/// All of it is exact or one rounded operation, so that every width gives the same bits.
/// </summary>
/// <typeparam name="TFloat">The vector of floats.</typeparam>
/// <typeparam name="TInt">The vector of as many integers.</typeparam>
internal unsafe interface IByteLanes<TFloat, TInt> where TFloat : struct where TInt : struct
{
    /// <summary>Unaligned load of 32-bit lanes.</summary>
    static abstract TInt Load(void* source);

    /// <summary>Unaligned store of 32-bit lanes.</summary>
    static abstract void Store(void* destination, TInt value);

    /// <summary>Adds the four products of each lane's unsigned bytes with the same four signed bytes, of which none is −128.</summary>
    static abstract TInt Dot(TInt sum, TInt unsigned, int signed);

    /// <summary>Exact up to 2^24, then rounded to even.</summary>
    static abstract TFloat ToFloat(TInt value);

    /// <summary>The nearest integer, halves to even.</summary>
    static abstract TInt Round(TFloat value);

    /// <summary>Integers 0 … 255 of four vectors become the four bytes of each lane, the first the lowest.</summary>
    static abstract TInt Interleave(TInt first, TInt second, TInt third, TInt fourth);

    /// <summary>The same integer in all lanes.</summary>
    static abstract TInt Create(int value);

    /// <summary>Exclusive or.</summary>
    static abstract TInt Xor(TInt x, TInt y);

    /// <summary>x − ⌊x⌋, rounded.</summary>
    static abstract TFloat Fraction(TFloat x);

    /// <summary>value·2^⌊x⌋ for 1 ≤ value ≤ 512 and x ≤ 1; anything below 2^−16 may be another such number.</summary>
    static abstract TFloat ScaleByFloor(TFloat value, TFloat x);
}

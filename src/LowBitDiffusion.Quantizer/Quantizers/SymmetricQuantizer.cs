namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>
/// Symmetric quantizer with signed codes; the code −2^(Bits−1) is left unused, so that negation is exact:
/// <code>
/// m    = 2^(Bits−1) − 1
/// q    = clamp(round_half_even(x / Scale), −m, m)
/// xhat = Scale·q
/// </code>
/// </summary>
/// <param name="Scale">Step between neighbouring values, finite and positive.</param>
/// <param name="Bits">Bits of a code, 2 to 8.</param>
public readonly record struct SymmetricQuantizer(float Scale, int Bits)
{
    /// <summary>The largest code, <c>2^(Bits−1) − 1</c>.</summary>
    public int MaxCode => (1 << (Bits - 1)) - 1;

    /// <summary>The quantizer whose last code is <paramref name="magnitude"/>; step 1 where that is zero.</summary>
    /// <param name="magnitude">Largest absolute value to represent.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">The magnitude is negative or not finite, or the bits are out of range.</exception>
    public static SymmetricQuantizer FromMagnitude(double magnitude, int bits)
    {
        Codes.RequireBits(bits);
        if (!double.IsFinite(magnitude) || magnitude < 0) throw new ArgumentException($"a magnitude must be finite and not negative, found {magnitude}");
        float scale = (float)(magnitude / ((1 << (bits - 1)) - 1));
        return new SymmetricQuantizer(float.IsNormal(scale) ? scale : 1, bits);
    }

    /// <summary>Code of a value.</summary>
    public int Quantize(float x) => (int)Math.Clamp(Math.Round((double)x / Scale), -MaxCode, MaxCode);

    /// <summary>Value of a code.</summary>
    public float Dequantize(int code) => Scale * code;

    /// <summary>Value that <paramref name="x"/> becomes.</summary>
    public float Apply(float x) => Dequantize(Quantize(x));
}

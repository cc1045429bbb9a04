namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>
/// Uniform affine quantizer with unsigned codes, <c>n = 2^Bits</c> of them:
/// <code>
/// q    = clamp(round_half_even(x / Scale) + ZeroPoint, 0, n − 1)
/// xhat = Scale·(q − ZeroPoint)
/// </code>
/// Zero is always exact, so that zero padding can be written as the code <see cref="ZeroPoint"/>.
/// </summary>
/// <param name="Scale">Step between neighbouring values, finite and positive.</param>
/// <param name="ZeroPoint">Code of zero, in <c>[0, n − 1]</c>.</param>
/// <param name="Bits">Bits of a code, 2 to 8.</param>
public readonly record struct AffineQuantizer(float Scale, int ZeroPoint, int Bits)
{
    /// <summary>The largest code, <c>2^Bits − 1</c>.</summary>
    public int MaxCode => (1 << Bits) - 1;

    /// <summary>The quantizer whose first and last code are the ends of a range, widened to contain zero; step 1 where the range is empty.</summary>
    /// <param name="min">Lower end.</param>
    /// <param name="max">Upper end.</param>
    /// <param name="bits">Bits of a code, 2 to 8.</param>
    /// <exception cref="ArgumentException">An end is not finite, the ends are in the wrong order, or the bits are out of range.</exception>
    public static AffineQuantizer FromRange(double min, double max, int bits)
    {
        Codes.RequireBits(bits);
        if (!double.IsFinite(min) || !double.IsFinite(max) || min > max) throw new ArgumentException($"a range must be finite and in order, found [{min}, {max}]");
        min = Math.Min(min, 0);
        max = Math.Max(max, 0);
        int last = (1 << bits) - 1;
        float scale = (float)((max - min) / last);
        // A subnormal step has no finite reciprocal, which the runtime multiplies by; such a range is empty for every purpose.
        if (!float.IsNormal(scale)) return new AffineQuantizer(1, 0, bits);
        int zeroPoint = (int)Math.Clamp(Math.Round(-min / scale), 0, last);
        return new AffineQuantizer(scale, zeroPoint, bits);
    }

    /// <summary>Code of a value.</summary>
    public int Quantize(float x) => (int)Math.Clamp(Math.Round((double)x / Scale) + ZeroPoint, 0, MaxCode);

    /// <summary>Value of a code.</summary>
    public float Dequantize(int code) => Scale * (code - ZeroPoint);

    /// <summary>Value that <paramref name="x"/> becomes.</summary>
    public float Apply(float x) => Dequantize(Quantize(x));
}

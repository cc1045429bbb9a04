using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Quantizer.Quantizers;

/// <summary>Smallest and largest of some values together with zero.</summary>
/// <param name="Min">At most 0.</param>
/// <param name="Max">At least 0.</param>
public readonly record struct ValueRange(float Min, float Max)
{
    /// <summary>The range of no values: zero alone.</summary>
    public static ValueRange Zero => default;

    /// <summary>The largest absolute value.</summary>
    public float Magnitude => Math.Max(-Min, Max);

    /// <summary>The range of the values; its ends are NaN where a value is.</summary>
    public static ValueRange Of(ReadOnlySpan<float> values)
    {
        float min = 0, max = 0;
        ReadOnlySpan<Vector256<float>> vectors = MemoryMarshal.Cast<float, Vector256<float>>(values);
        if (!vectors.IsEmpty)
        {
            Vector256<float> low = Vector256<float>.Zero, high = Vector256<float>.Zero;
            foreach (Vector256<float> vector in vectors)
            {
                low = Vector256.Min(low, vector);
                high = Vector256.Max(high, vector);
            }

            for (int lane = 0; lane < Vector256<float>.Count; lane++) (min, max) = (MathF.Min(min, low[lane]), MathF.Max(max, high[lane]));
        }

        foreach (float value in values[(vectors.Length * Vector256<float>.Count)..]) (min, max) = (MathF.Min(min, value), MathF.Max(max, value));
        return new ValueRange(min, max);
    }

    /// <summary>The smallest range that holds both.</summary>
    public ValueRange Union(ValueRange other) => new(MathF.Min(Min, other.Min), MathF.Max(Max, other.Max));
}

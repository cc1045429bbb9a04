namespace LowBitDiffusion.Schedulers;

/// <summary>
/// The two operations every solver's update is made of. Coefficients are computed in double and applied in float, in the written order and without fused
/// multiply-add, so that a
/// trajectory is the same on every machine. A sample is small beside the network that predicts it; these loops are not worth vectorising.
/// </summary>
internal static class SampleMath
{
    /// <summary><c>destination = a·x + b·y</c>; the destination may be x or y.</summary>
    public static void Combine(Span<float> destination, double a, ReadOnlySpan<float> x, double b, ReadOnlySpan<float> y)
    {
        (float fa, float fb) = ((float)a, (float)b);
        for (int i = 0; i < destination.Length; i++) destination[i] = fa * x[i] + fb * y[i];
    }

    /// <summary><c>destination += a·x</c>.</summary>
    public static void Add(this Span<float> destination, double a, ReadOnlySpan<float> x)
    {
        float fa = (float)a;
        for (int i = 0; i < destination.Length; i++) destination[i] += fa * x[i];
    }

    /// <summary><c>destination *= a</c>.</summary>
    public static void Scale(this Span<float> destination, double a)
    {
        float fa = (float)a;
        foreach (ref float value in destination) value *= fa;
    }
}

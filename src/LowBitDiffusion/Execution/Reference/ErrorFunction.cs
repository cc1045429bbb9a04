namespace LowBitDiffusion.Execution.Reference;

/// <summary>The error function to about double precision (Abramowitz and Stegun 7.1.6 and 7.1.14).</summary>
internal static class ErrorFunction
{
    /// <summary><c>1 − erf(x)</c>, without cancellation for large x.</summary>
    public static double Complement(double x)
    {
        if (x < 0) return 2 - Complement(-x);
        if (x > 27) return 0;
        double gauss = Math.Exp(-x * x) / Math.Sqrt(Math.PI);
        if (x < 2.5)
        {
            // erf(x) = 2/√π·e^(−x²)·Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)): all terms positive
            double term = x, sum = x;
            for (int n = 1; term > 1e-17 * sum; n++) sum += term *= 2 * x * x / (2 * n + 1);
            return 1 - 2 * gauss * sum;
        }

        // erfc(x) = e^(−x²)/√π · 1/(x + ½/(x + 1/(x + 3⁄2/(x + …))))
        double fraction = x;
        for (int n = 60; n > 0; n--) fraction = x + n / 2.0 / fraction;
        return gauss / fraction;
    }
}

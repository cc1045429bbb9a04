namespace LowBitDiffusion.Kernels.OpenCL.Tests.Support;

/// <summary>How far a device's numbers are from the processor's.</summary>
internal static class Difference
{
    /// <summary>Root mean square of the difference, as a share of that of what is expected.</summary>
    public static double Relative(float[] expected, float[] found) => Math.Sqrt(expected.Zip(found, (a, b) => (double)(a - b) * (a - b)).Sum() / expected.Sum(v => (double)v * v));
}

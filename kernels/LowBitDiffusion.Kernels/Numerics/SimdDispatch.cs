using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>The one place where a level becomes a type.</summary>
internal static class SimdDispatch
{
    /// <summary>Runs a job in vectors of floats.</summary>
    public static void Run<TJob>(SimdLevel level, ref TJob job) where TJob : struct, ISimdJob
    {
        switch (level.Resolve())
        {
            case SimdLevel.Vector512: job.Run<Simd512, Vector512<float>>(); break;
            case SimdLevel.Vector256: job.Run<Simd256, Vector256<float>>(); break;
            case SimdLevel.Vector128: job.Run<Simd128, Vector128<float>>(); break;
            default: job.Run<Simd1, float>(); break;
        }
    }

    /// <summary>Runs a job in vectors of doubles.</summary>
    public static void RunWide<TJob>(SimdLevel level, ref TJob job) where TJob : struct, IWideJob
    {
        switch (level.Resolve())
        {
            case SimdLevel.Vector512: job.Run<Wide512, Vector512<double>>(); break;
            case SimdLevel.Vector256: job.Run<Wide256, Vector256<double>>(); break;
            case SimdLevel.Vector128: job.Run<Wide128, Vector128<double>>(); break;
            default: job.Run<Wide1, double>(); break;
        }
    }
}

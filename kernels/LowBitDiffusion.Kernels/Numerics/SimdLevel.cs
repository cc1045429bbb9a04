using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>How wide the vectors of a float kernel are. Every kernel is written once over the width; tests run all of them.</summary>
public enum SimdLevel
{
    /// <summary>The widest that the processor has.</summary>
    Auto,

    /// <summary>One number at a time: the reference.</summary>
    Scalar,

    /// <summary>Portable 128-bit vectors.</summary>
    Vector128,

    /// <summary>AVX2 and FMA.</summary>
    Vector256,

    /// <summary>AVX-512 F, BW, DQ and VL.</summary>
    Vector512,
}

/// <summary>Which levels this process may use.</summary>
public static class SimdLevels
{
    /// <summary>The widest level that is supported.</summary>
    public static SimdLevel Best =>
        IsSupported(SimdLevel.Vector512) ? SimdLevel.Vector512 : IsSupported(SimdLevel.Vector256) ? SimdLevel.Vector256 : SimdLevel.Vector128;

    /// <summary>All supported levels, the reference first.</summary>
    public static IEnumerable<SimdLevel> Supported => Enum.GetValues<SimdLevel>().Where(level => level != SimdLevel.Auto && IsSupported(level));

    /// <summary>Whether kernels of a level can run here.</summary>
    public static bool IsSupported(SimdLevel level) => level switch
    {
        // Vector512.IsHardwareAccelerated is false where the runtime merely deems 512 bits slow: IsSupported is the question.
        SimdLevel.Vector512 => Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512BW.VL.IsSupported,
        SimdLevel.Vector256 => Avx2.IsSupported && Fma.IsSupported,
        _ => true,
    };

    /// <summary>The level itself, or the best one for <see cref="SimdLevel.Auto"/>.</summary>
    /// <exception cref="PlatformNotSupportedException">The processor does not have it.</exception>
    public static SimdLevel Resolve(this SimdLevel level)
    {
        if (level == SimdLevel.Auto) return Best;
        return IsSupported(level) ? level : throw new PlatformNotSupportedException($"this processor has no {level}");
    }
}

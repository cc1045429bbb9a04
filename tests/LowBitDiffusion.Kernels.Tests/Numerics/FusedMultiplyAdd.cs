using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace LowBitDiffusion.Kernels.Tests.Numerics;

/// <summary>Matrix products agree between levels where every level has fused multiply-add.</summary>
internal static class FusedMultiplyAdd
{
    public static bool IsSupported => Fma.IsSupported || AdvSimd.IsSupported;
}

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>exp, erf, tanh, sigmoid.</summary>
internal static class Functions;

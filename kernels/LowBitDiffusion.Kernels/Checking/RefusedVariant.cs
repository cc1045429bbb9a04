namespace LowBitDiffusion.Kernels.Checking;

/// <summary>A variant of a kernel that a device does not use.</summary>
/// <param name="Variant">Its name.</param>
/// <param name="Reason">What was wrong: the compiler's words, or the first number that differs.</param>
public sealed record RefusedVariant(string Variant, string Reason);

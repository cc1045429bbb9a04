using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

/// <summary>
/// The formulas of <see cref="Training.LearnedStep"/> on vectors, in single precision like the integer contract. With u the value in steps (<c>x·inv</c> of an activation, <c>w/d</c> of a weight):
/// <code>
/// code = round_half_even(u) + z          inside: 0 ≤ code ≤ last
/// dxhat/dd = code − z − u inside, clamp(code) − z outside
/// </code>
/// </summary>
internal static class FakeQuantizer
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Code(Vector256<float> u, Vector256<float> z) => Vector256.Round(u) + z;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Clamp(Vector256<float> code, float last) => Vector256.Min(Vector256.Max(code, Vector256<float>.Zero), Vector256.Create(last));

    /// <summary>All bits set where a code is within range.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Inside(Vector256<float> code, float last) =>
        Vector256.GreaterThanOrEqual(code, Vector256<float>.Zero) & Vector256.LessThanOrEqual(code, Vector256.Create(last));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> StepDerivative(Vector256<float> u, Vector256<float> z, float last)
    {
        Vector256<float> code = Code(u, z);
        return Clamp(code, last) - z - (u & Inside(code, last));
    }
}

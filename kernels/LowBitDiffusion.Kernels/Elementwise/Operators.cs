using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>x + y.</summary>
internal readonly struct AddOperator : IElementOperator
{
    /// <inheritdoc/>
    public static int Operands => 2;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct => TSimd.Add(x, y);
}

/// <summary>x·y.</summary>
internal readonly struct MultiplyOperator : IElementOperator
{
    /// <inheritdoc/>
    public static int Operands => 2;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct => TSimd.Multiply(x, y);
}

/// <summary>x·(1 + y) + z.</summary>
internal readonly struct ModulateOperator : IElementOperator
{
    /// <inheritdoc/>
    public static int Operands => 3;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Add(TSimd.Multiply(x, TSimd.Add(TSimd.Create(1), y)), z);
}

/// <summary>factor·x + offset.</summary>
internal readonly struct AffineOperator(float factor, float offset) : IElementOperator
{
    /// <inheritdoc/>
    public static int Operands => 1;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Add(TSimd.Multiply(TSimd.Create(factor), x), TSimd.Create(offset));
}

/// <summary>x / divisor.</summary>
internal readonly struct DivideOperator(float divisor) : IElementOperator
{
    /// <inheritdoc/>
    public static int Operands => 1;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Divide(x, TSimd.Create(divisor));
}

/// <summary>An activation function.</summary>
internal readonly struct ActivationOperator<TActivation> : IElementOperator where TActivation : struct, IActivation
{
    /// <inheritdoc/>
    public static int Operands => 1;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TActivation.Invoke<TSimd, TVector>(x);
}

/// <summary>x·gelu(y).</summary>
internal readonly struct GegluOperator : IElementOperator
{
    /// <inheritdoc/>
    public static int Operands => 2;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public TVector Invoke<TSimd, TVector>(TVector x, TVector y, TVector z) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Multiply(x, GeluActivation.Invoke<TSimd, TVector>(y));
}

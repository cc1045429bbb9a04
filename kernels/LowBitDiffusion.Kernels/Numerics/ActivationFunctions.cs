using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>An <see cref="Activation"/> as a type, so that loops are compiled for it.</summary>
internal interface IActivation
{
    /// <summary>The function.</summary>
    static abstract TVector Invoke<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct;
}

/// <summary><see cref="Activation.None"/>.</summary>
internal readonly struct IdentityActivation : IActivation
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct => x;
}

/// <summary><see cref="Activation.Silu"/>, as x/(1 + e^−x).</summary>
internal readonly struct SiluActivation : IActivation
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Divide(x, Functions.OnePlusExpOfNegated<TSimd, TVector>(x));
}

/// <summary><see cref="Activation.Gelu"/>.</summary>
internal readonly struct GeluActivation : IActivation
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct => TSimd.Multiply(x, Functions.Phi<TSimd, TVector>(x));
}

/// <summary><see cref="Activation.GeluTanh"/>.</summary>
internal readonly struct GeluTanhActivation : IActivation
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct => TSimd.Multiply(x, Functions.PhiTanh<TSimd, TVector>(x));
}

/// <summary><see cref="Activation.QuickGelu"/>, as x/(1 + e^(−1.702x)).</summary>
internal readonly struct QuickGeluActivation : IActivation
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Divide(x, Functions.OnePlusExpOfNegated<TSimd, TVector>(TSimd.Multiply(x, TSimd.Create(1.702f))));
}

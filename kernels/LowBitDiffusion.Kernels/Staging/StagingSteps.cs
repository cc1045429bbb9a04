using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Staging;

/// <summary>What a range of channels of neighbouring pixels is read with; pointers are at the range's first channel.</summary>
internal unsafe struct StagingRange
{
    /// <summary>Source values of the pixel.</summary>
    public float* Source;

    /// <summary>From one pixel's source values to the next's.</summary>
    public nint SourceStride;

    /// <summary>The rows' means, from the first pixel on, or null.</summary>
    public float* Means;

    /// <summary>Their inverse deviations.</summary>
    public float* InverseDeviations;

    /// <summary>Factors, where normalisation has them.</summary>
    public float* Factor;

    /// <summary>Offsets, where normalisation has them.</summary>
    public float* Offset;

    /// <summary>Inverse scales per channel, where the destination has them.</summary>
    public float* InverseScales;

    /// <summary>The pixel's mean.</summary>
    public float Mean;

    /// <summary>The pixel's inverse deviation.</summary>
    public float InverseDeviation;

    /// <summary>The quantizer's inverse scale.</summary>
    public float InverseScale;

    /// <summary>The quantizer's zero point.</summary>
    public int ZeroPoint;

    /// <summary>The largest code.</summary>
    public int MaxCode;
}

/// <summary>The first step of a <see cref="StagingJob"/>.</summary>
internal interface IStagingNormalization
{
    /// <summary>Normalises channels from <paramref name="channel"/> of the range on.</summary>
    static abstract TVector Invoke<TSimd, TVector>(in StagingRange range, nint channel, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct;
}

/// <summary>Nothing.</summary>
internal readonly struct NoNormalization : IStagingNormalization
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(in StagingRange range, nint channel, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        x;
}

/// <summary>A factor and an offset per channel.</summary>
internal readonly unsafe struct ChannelAffine : IStagingNormalization
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(in StagingRange range, nint channel, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Add(TSimd.Multiply(x, TSimd.Load(range.Factor + channel)), TSimd.Load(range.Offset + channel));
}

/// <summary>The row's own mean and deviation, then factors and offsets if there are any.</summary>
internal readonly unsafe struct RowNormalization : IStagingNormalization
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Invoke<TSimd, TVector>(in StagingRange range, nint channel, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        x = TSimd.Multiply(TSimd.Subtract(x, TSimd.Create(range.Mean)), TSimd.Create(range.InverseDeviation));
        return range.Factor == null ? x : ChannelAffine.Invoke<TSimd, TVector>(range, channel, x);
    }
}

/// <summary>The last step of a <see cref="StagingJob"/>.</summary>
internal unsafe interface IStagingDestination<TElement> where TElement : unmanaged
{
    /// <summary>Stores channels from <paramref name="channel"/> of the range on.</summary>
    static abstract void Store<TSimd, TVector>(in StagingRange range, nint channel, TElement* destination, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct;

    /// <summary>What the border holds.</summary>
    static abstract TElement Border(ChannelQuantizer quantizer);
}

/// <summary>Floats.</summary>
internal readonly unsafe struct Floats : IStagingDestination<float>
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TSimd, TVector>(in StagingRange range, nint channel, float* destination, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.Store(destination + channel, x);

    /// <inheritdoc/>
    public static float Border(ChannelQuantizer quantizer) => 0;
}

/// <summary>Codes with one scale.</summary>
internal readonly unsafe struct UniformCodes : IStagingDestination<byte>
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TSimd, TVector>(in StagingRange range, nint channel, byte* destination, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.StoreCodes(destination + channel, TSimd.Multiply(x, TSimd.Create(range.InverseScale)), range.ZeroPoint, range.MaxCode);

    /// <inheritdoc/>
    public static byte Border(ChannelQuantizer quantizer) => quantizer.ZeroPoint;
}

/// <summary>Codes with a scale per channel.</summary>
internal readonly unsafe struct ChannelCodes : IStagingDestination<byte>
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TSimd, TVector>(in StagingRange range, nint channel, byte* destination, TVector x) where TSimd : struct, ISimd<TVector> where TVector : struct =>
        TSimd.StoreCodes(destination + channel, TSimd.Multiply(x, TSimd.Load(range.InverseScales + channel)), range.ZeroPoint, range.MaxCode);

    /// <inheritdoc/>
    public static byte Border(ChannelQuantizer quantizer) => quantizer.ZeroPoint;
}

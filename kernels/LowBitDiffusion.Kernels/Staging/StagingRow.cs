using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Staging;

/// <summary>The loop over neighbouring pixels and the channels of one range in each.</summary>
internal static unsafe class StagingRow<TNormalization, TActivation, TDestination, TElement>
    where TNormalization : struct, IStagingNormalization where TActivation : struct, IActivation
    where TDestination : struct, IStagingDestination<TElement> where TElement : unmanaged
{
    /// <summary>Writes all channels of the range in each pixel: whole vectors, then one by one.</summary>
    /// <param name="shared">The first pixel's range.</param>
    /// <param name="destination">The range's first channel in the first pixel.</param>
    /// <param name="count">Channels of the range.</param>
    /// <param name="pixels">Pixels, next to one another in source and destination.</param>
    /// <param name="destinationStride">Elements from one pixel of the destination to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Write<TSimd, TVector>(in StagingRange shared, TElement* destination, int count, int pixels, nint destinationStride)
        where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        // A copy of its own, so that the fields are known not to change under the stores.
        StagingRange range = shared;
        for (int pixel = 0; pixel < pixels; pixel++, range.Source += range.SourceStride, destination += destinationStride)
        {
            if (range.Means != null) (range.Mean, range.InverseDeviation) = (range.Means[pixel], range.InverseDeviations[pixel]);
            nint channel = 0;
            for (; channel <= count - TSimd.Count; channel += TSimd.Count) Convert<TSimd, TVector>(range, channel, destination);
            for (; channel < count; channel++) Convert<Simd1, float>(range, channel, destination);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Convert<TSimd, TVector>(in StagingRange range, nint channel, TElement* destination) where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        TVector x = TNormalization.Invoke<TSimd, TVector>(range, channel, TSimd.Load(range.Source + channel));
        TDestination.Store<TSimd, TVector>(range, channel, destination, TActivation.Invoke<TSimd, TVector>(x));
    }
}

using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Staging;

/// <summary>The loop over the channels of one range of one pixel.</summary>
internal static unsafe class StagingRow<TNormalization, TActivation, TDestination, TElement>
    where TNormalization : struct, IStagingNormalization where TActivation : struct, IActivation
    where TDestination : struct, IStagingDestination<TElement> where TElement : unmanaged
{
    /// <summary>Writes all channels of the range: whole vectors, then one by one.</summary>
    public static void Write<TSimd, TVector>(in StagingRange range, TElement* destination, int count)
        where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        int channel = WriteVectors<TSimd, TVector>(range, destination, 0, count);
        if (channel < count) WriteVectors<Simd1, float>(range, destination, channel, count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int WriteVectors<TSimd, TVector>(in StagingRange shared, TElement* destination, int channel, int count)
        where TSimd : struct, ISimd<TVector> where TVector : struct
    {
        // A copy of its own, so that the fields are known not to change under the stores.
        StagingRange range = shared;
        for (; channel <= count - TSimd.Count; channel += TSimd.Count)
        {
            TVector x = TNormalization.Invoke<TSimd, TVector>(range, channel, TSimd.Load(range.Source + channel));
            TDestination.Store<TSimd, TVector>(range, channel, destination, TActivation.Invoke<TSimd, TVector>(x));
        }

        return channel;
    }
}

using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Normalization;

/// <summary>Group normalisation (Wu and He 2018), reduced to one factor and offset per image and channel that the next pass over the image applies.</summary>
public static unsafe class GroupNorm
{
    /// <summary>Bytes of scratch that <see cref="Fold"/> needs.</summary>
    public static long ScratchBytes(in RowShape shape) => throw new NotImplementedException();

    /// <summary>
    /// Reads the sources once and writes <c>factor[b][c] = γ[c]/√(var + ε)</c> and <c>offset[b][c] = β[c] − mean·factor</c>, mean and biased variance over the group's channels
    /// and the image's pixels. With <paramref name="scale"/> and <paramref name="shift"/> both carry the modulation <c>y·(1 + scale[b][c]) + shift[b][c]</c> as well.
    /// Sums are in double precision and in an order that depends on the shape alone: the same bits for any number of threads and every level.
    /// </summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Images, pixels of an image, channels of both sources together.</param>
    /// <param name="sources">The image, in one or two parts; a group may straddle them.</param>
    /// <param name="groups">Groups of consecutive channels; divides the channels.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="gamma">γ <c>[C]</c>, or null for 1.</param>
    /// <param name="beta">β <c>[C]</c>, or null for 0.</param>
    /// <param name="scale">Scale of each image and channel, or null data for none.</param>
    /// <param name="shift">Shift of each image and channel; given exactly where <paramref name="scale"/> is.</param>
    /// <param name="factor">Result <c>[B][C]</c>.</param>
    /// <param name="offset">Result <c>[B][C]</c>.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes.</param>
    /// <param name="level">Instruction set; the result does not depend on it.</param>
    /// <exception cref="ArgumentException">The channels do not fit the sources or the groups.</exception>
    public static void Fold(
        WorkerPool pool, in RowShape shape, in NormSources sources, int groups, float epsilon, float* gamma, float* beta,
        RowView scale, RowView shift, float* factor, float* offset, void* scratch, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();
}

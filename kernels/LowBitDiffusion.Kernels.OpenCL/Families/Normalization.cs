using LowBitDiffusion.Kernels.OpenCL.Devices;

namespace LowBitDiffusion.Kernels.OpenCL.Families;

/// <summary>Rows on a device.</summary>
/// <param name="Place">The first row's first element; nowhere for none.</param>
/// <param name="Stride">Elements from row to row; 0 where all rows are the same one.</param>
/// <param name="Channels">Elements of a row.</param>
public readonly record struct DeviceRows(DeviceSlice Place, int Stride, int Channels);

/// <summary>Statistics of normalisations on a device, reduced to what <see cref="DeviceStaging"/> applies.</summary>
public static class DeviceNormalization
{
    private const int Lanes = 32;
    private const int MinChunkRows = 64;
    private const int MaxChunks = 64;

    private static readonly (int, int) s_group = (Lanes, 4);

    /// <summary>Bytes of scratch that <see cref="GroupNorm"/> needs: those of the processor's kernel.</summary>
    public static long ScratchBytes(int batch, int rows, int channels) => (long)batch * Chunks(rows) * 2 * channels * sizeof(double);

    /// <summary>Factor and offset <c>[batch][channels]</c> of a group normalisation with the modulation that follows it.</summary>
    public static void GroupNorm(
        DeviceQueue queue, int batch, int rows, DeviceRows first, DeviceRows second, int groups, float epsilon, DeviceSlice gamma, DeviceSlice beta, DeviceRows scale, DeviceRows shift,
        DeviceSlice factor, DeviceSlice offset, DeviceSlice scratch)
    {
        int chunks = Chunks(rows), channels = first.Channels + second.Channels;
        GroupNormJob job = new()
        {
            Batch = batch,
            Rows = rows,
            Channels = channels,
            FirstChannels = first.Channels,
            FirstStride = first.Stride,
            SecondStride = second.Stride,
            Chunks = chunks,
            ChunkRows = (rows + chunks - 1) / chunks,
            Groups = groups,
            ScaleStride = scale.Stride,
            ShiftStride = shift.Stride,
            Epsilon = epsilon,
        };
        queue.Call("normalization", "", "group_moments").Memory(first.Place).Memory(second.Place).Memory(scratch).Value(job).Run((channels, (long)batch * chunks), s_group);
        queue.Call("normalization", "", "group_fold").Memory(scratch).Memory(gamma).Memory(beta).Memory(scale.Place).Memory(shift.Place).Memory(factor).Memory(offset).Value(job)
            .Run(((long)groups * Lanes, batch), (Lanes, 1));
    }

    /// <summary>Mean and inverse deviation of each row.</summary>
    public static void LayerNorm(DeviceQueue queue, int rows, DeviceRows input, float epsilon, DeviceSlice mean, DeviceSlice inverseDeviation) =>
        queue.Call("normalization", "", "layer_moments").Memory(input.Place).Memory(mean).Memory(inverseDeviation)
            .Value(new LayerNormJob { Rows = rows, Channels = input.Channels, Stride = input.Stride, Epsilon = epsilon }).Run((Lanes, rows), (Lanes, 1));

    /// <summary><c>(x·γ + β)·(1 + scale) + shift</c> as one factor and one offset per image and channel.</summary>
    public static void FoldAffine(DeviceQueue queue, int images, int channels, DeviceSlice gamma, DeviceSlice beta, DeviceRows scale, DeviceRows shift, DeviceSlice factor, DeviceSlice offset) =>
        queue.Call("normalization", "", "fold_affine").Memory(gamma).Memory(beta).Memory(scale.Place).Memory(shift.Place).Memory(factor).Memory(offset)
            .Value(images).Value(channels).Value(scale.Stride).Value(shift.Stride).Run((channels, images), s_group);

    private static int Chunks(int rows) => Math.Clamp((rows + MinChunkRows - 1) / MinChunkRows, 1, MaxChunks);

    private struct GroupNormJob
    {
        public int Batch, Rows, Channels, FirstChannels, FirstStride, SecondStride;
        public int Chunks, ChunkRows, Groups, ScaleStride, ShiftStride;
        public float Epsilon;
    }

    private struct LayerNormJob
    {
        public int Rows, Channels, Stride;
        public float Epsilon;
    }
}

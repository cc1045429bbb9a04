using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Normalization;

/// <summary>
/// Group normalisation (Wu and He 2018), reduced to one factor and offset per image and channel that the next pass over the image applies.
/// <code>
///   pixels of an image │ chunk 0 │ chunk 1 │ …      each thread: Σx and Σx² of each channel over a chunk, in doubles
///                           │         │
///                           └────┬────┘             then over the chunks in order, then over the group's channels in order
/// </code>
/// The chunks depend on the shape alone, so the result is the same bits for any number of threads, and at every level.
/// </summary>
public static unsafe class GroupNorm
{
    private const int MinChunkRows = 64;
    private const int MaxChunks = 64;

    /// <summary>Bytes of scratch that <see cref="Fold"/> needs.</summary>
    public static long ScratchBytes(in RowShape shape) => (long)shape.Batch * Chunks(shape) * 2 * shape.Channels * sizeof(double);

    /// <summary>
    /// Reads the sources once and writes <c>factor[b][c] = γ[c]/√(var + ε)</c> and <c>offset[b][c] = β[c] − mean·factor</c>, mean and biased variance over the
    /// group's channels
    /// and the image's pixels. With <paramref name="scale"/> and <paramref name="shift"/> both carry the modulation <c>y·(1 + scale[b][c]) + shift[b][c]</c> as
    /// well.
    /// Everything is computed in double precision and rounded once at the end.
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
        RowView scale, RowView shift, float* factor, float* offset, void* scratch, SimdLevel level = SimdLevel.Auto)
    {
        if (sources.Channels != shape.Channels) throw new ArgumentException($"sources of {sources.Channels} channels do not fit {shape}", nameof(sources));
        if (groups < 1 || shape.Channels % groups != 0) throw new ArgumentException($"{shape.Channels} channels are not {groups} equal groups", nameof(groups));
        if ((scale.Data == null) != (shift.Data == null)) throw new ArgumentException("scale and shift come together", nameof(shift));

        int chunks = Chunks(shape), chunkRows = (shape.RowsPerImage + chunks - 1) / chunks;
        MomentsJob job = new(pool, shape, sources, chunks, chunkRows, (double*)scratch);
        SimdDispatch.RunWide(level, ref job);
        pool.For(shape.Batch, new FoldBody(shape, (double*)scratch, (nint)chunks * 2 * shape.Channels, groups, epsilon, gamma, beta, scale, shift, factor, offset));
    }

    private static int Chunks(in RowShape shape) => Math.Clamp((shape.RowsPerImage + MinChunkRows - 1) / MinChunkRows, 1, MaxChunks);

    private readonly struct MomentsJob(WorkerPool pool, RowShape shape, NormSources sources, int chunks, int chunkRows, double* moments) : IWideJob
    {
        public void Run<TWide, TVector>() where TWide : struct, IWide<TVector> where TVector : struct
        {
            pool.For(shape.Batch * chunks, new MomentsBody<TWide, TVector>(shape, sources, chunks, chunkRows, moments), 0.1 * shape.Rows * shape.Channels);
            pool.For(shape.Batch, new SumBody<TWide, TVector>(moments, chunks, 2 * shape.Channels));
        }
    }

    private readonly struct MomentsBody<TWide, TVector>(RowShape shape, NormSources sources, int chunks, int chunkRows, double* moments) : IParallelBody
        where TWide : struct, IWide<TVector> where TVector : struct
    {
        public void Run(int index)
        {
            int image = index / chunks, first = index % chunks * chunkRows, rows = Math.Clamp(shape.RowsPerImage - first, 0, chunkRows);
            nint row = (nint)image * shape.RowsPerImage + first;
            double* sums = moments + (nint)index * 2 * shape.Channels;
            double* squares = sums + shape.Channels;
            Moments.OfColumns<TWide, TVector>(sources.First.Row(row), sources.First.Stride, rows, sources.FirstChannels, sums, squares);
            Moments.OfColumns<TWide, TVector>(
                sources.Second.Row(row), sources.Second.Stride, rows, sources.SecondChannels, sums + sources.FirstChannels, squares + sources.FirstChannels);
        }
    }

    /// <summary>Adds an image's chunks to its first one, in order.</summary>
    private readonly struct SumBody<TWide, TVector>(double* moments, int chunks, int length) : IParallelBody
        where TWide : struct, IWide<TVector> where TVector : struct
    {
        public void Run(int index)
        {
            double* first = moments + (nint)index * chunks * length;
            for (int chunk = 1; chunk < chunks; chunk++) Moments.Accumulate<TWide, TVector>(first, first + (nint)chunk * length, length);
        }
    }

    private readonly struct FoldBody(
        RowShape shape, double* moments, nint imageStride, int groups, float epsilon, float* gamma, float* beta, RowView scale, RowView shift, float* factor, float* offset) : IParallelBody
    {
        public void Run(int index)
        {
            int channels = shape.Channels, size = channels / groups;
            double* first = moments + index * imageStride;
            double count = (double)size * shape.RowsPerImage;
            for (int start = 0; start < channels; start += size)
            {
                double sum = 0, square = 0;
                for (int c = start; c < start + size; c++)
                {
                    sum += first[c];
                    square += first[channels + c];
                }

                double mean = sum / count, inverse = 1 / Math.Sqrt(Math.Max(0, square / count - mean * mean) + epsilon);
                for (int c = start; c < start + size; c++)
                {
                    double a = gamma == null ? inverse : gamma[c] * inverse, b = (beta == null ? 0 : beta[c]) - mean * a;
                    if (scale.Data != null)
                    {
                        double modulation = 1.0 + scale.Row(index)[c];
                        a *= modulation;
                        b = b * modulation + shift.Row(index)[c];
                    }

                    factor[(nint)index * channels + c] = (float)a;
                    offset[(nint)index * channels + c] = (float)b;
                }
            }
        }
    }
}

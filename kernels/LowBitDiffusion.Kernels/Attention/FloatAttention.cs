using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// Attention in single precision as one streaming pass (Rabe and Staats 2021; Dao et al. 2022): no matrix of queries × keys is stored. With running maximum m,
/// sum l and output O
/// of each query, a block of keys contributes
/// <code>
///   s = q kᵀ·scale + mask      m′ = max(m, max s)      p = e^(s − m′)      l = l·e^(m − m′) + Σp      O = O·e^(m − m′) + p v
/// </code>
/// and the output is O/l. Blocks of keys have a fixed size and the queries do not depend on each other: the same bits for any number of threads, and at every
/// level on
/// processors with fused multiply-add.
/// </summary>
public static unsafe class FloatAttention
{
    /// <summary>Bytes of scratch that <see cref="Run"/> needs: packed keys and values, and one query block's state per thread.</summary>
    /// <param name="job">Shapes; the pointers are not looked at.</param>
    /// <param name="threads">Threads of the pool.</param>
    /// <param name="level">Instruction set.</param>
    public static long ScratchBytes(in AttentionJob job, int threads, SimdLevel level = SimdLevel.Auto)
    {
        AttentionScratch layout = new(job, level.Lanes());
        return sizeof(float) * (job.Batch * job.Heads * (layout.KeyLength + layout.ValueLength) + threads * layout.StateLength) + AttentionScratch.CounterBytes;
    }

    /// <summary>Runs the job.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">Shapes and memory.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    /// <param name="level">Instruction set.</param>
    /// <exception cref="ArgumentException">There are no heads, no keys or no channels.</exception>
    public static void Run(WorkerPool pool, in AttentionJob job, void* scratch, SimdLevel level = SimdLevel.Auto)
    {
        if (job.Heads < 1 || job.Keys < 1 || job.HeadWidth < 1 || job.ValueWidth < 1) throw new ArgumentException("an attention needs heads, keys and channels", nameof(job));
        if (job.Batch < 1 || job.Queries < 1) return;
        LevelJob levelJob = new(pool, job, scratch);
        SimdDispatch.Run(level, ref levelJob);
    }

    private readonly struct LevelJob(WorkerPool pool, AttentionJob job, void* scratch) : ISimdJob
    {
        public void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            AttentionScratch layout = new(job, TSimd.Count);
            int heads = job.Batch * job.Heads;
            int* counter = (int*)scratch;
            float* keys = (float*)((byte*)scratch + AttentionScratch.CounterBytes), values = keys + heads * layout.KeyLength, states = values + heads * layout.ValueLength;
            AttentionPackBody<TSimd, TVector> packing = new(job, layout, keys, values);
            pool.For(packing.Pieces, packing);

            // One piece per thread, so that each has a state of its own; they draw blocks of queries from a counter.
            *counter = 0;
            pool.For(Math.Min(pool.Threads, heads * layout.QueryBlocks), new AttentionBody<TSimd, TVector>(job, layout, keys, values, states, counter));
        }
    }
}

/// <summary>How the scratch memory is divided; lengths in floats, multiples of 16.</summary>
internal readonly struct AttentionScratch
{
    /// <summary>Room for the counter in front, which keeps what follows aligned.</summary>
    public const int CounterBytes = 64;

    /// <summary>Queries of a block: a multiple of the tile heights 8 and 6.</summary>
    public const int QueryBlock = 48;

    /// <summary>Keys of a block, a multiple of all panel widths.</summary>
    public const int KeyBlock = 128;

    /// <summary>Interleaved partial sums of each query's weights.</summary>
    private const int SumLanes = SoftmaxRow<Simd1, float>.Lanes;

    public AttentionScratch(in AttentionJob job, int lanes)
    {
        PaddedKeys = Panels.PaddedColumns(job.Keys, lanes);
        PaddedValueWidth = Panels.PaddedColumns(job.ValueWidth, lanes);
        QueryBlocks = (job.Queries + QueryBlock - 1) / QueryBlock;
        KeyLength = Align((long)PaddedKeys * job.HeadWidth);
        ValueLength = Align((long)PaddedValueWidth * job.Keys);
        ScaledQueryLength = Align((long)QueryBlock * job.HeadWidth);
        OutputLength = Align((long)QueryBlock * PaddedValueWidth);
        StateLength = ScaledQueryLength + OutputLength + QueryBlock * (KeyBlock + SumLanes + 1);
    }

    /// <summary>Keys with those that fill the last vector.</summary>
    public int PaddedKeys { get; }

    /// <summary>Channels of a head's values with those that fill the last vector.</summary>
    public int PaddedValueWidth { get; }

    /// <summary>Blocks of queries of one head.</summary>
    public int QueryBlocks { get; }

    /// <summary>Packed keys of one head: panels of keys × channels.</summary>
    public long KeyLength { get; }

    /// <summary>Packed values of one head: panels of channels × keys.</summary>
    public long ValueLength { get; }

    /// <summary>A block's queries times the scale.</summary>
    public long ScaledQueryLength { get; }

    /// <summary>A block's running output.</summary>
    public long OutputLength { get; }

    /// <summary>All that one thread needs: queries, output, scores, maxima, sums.</summary>
    public long StateLength { get; }

    private static long Align(long length) => (length + 15) / 16 * 16;
}

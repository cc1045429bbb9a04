using System.Runtime.Intrinsics;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// Attention in 8-bit integers as one streaming pass: no matrix of queries × keys is stored. For one head, with queries q, keys k, values v, N keys and
/// <c>u8(x, M) = round(fma(x, 127/M, 128))</c>, 1 … 255:
/// <code>
///   q̂[i] = u8(q[i], max|q[i]|)            a[i] = max|q[i]|/127·scale·log₂e               one scale per query
///   k̂[j] = u8(k[j] − k̄, Mk[j]) − 128      b[j] = Mk[j]/127,  Mk[j] = max|k[j] − k̄|       one per key; k̄ = mean of the keys, per channel
///   v̂[j] = u8(v[j] − v̄, Mv) − 128         d = Mv/127                                     one per channel; v̄ ± Mv is the channel's range
/// </code>
/// Then for each block of 240 keys, with m, c, O, l the query's running maximum, offset, output and sum of weights,
/// <code>
///   S[j] = Σ q̂·k̂[j] − 128·Σ k̂[j]        f[j] = float(S[j])·b[j]      m′ = max(m, max f)      c′ = −m′·a
///   p[j] = round(255·2^fma(f[j], a, c′))  0 … 255                     γ = 2^(c′ − c)
///   O = fma(O, γ, float(Σ p·v̂))           l = fma(l, γ, float(Σ p))   output = fma(O·(1/l), d, v̄)
/// </code>
/// Softmax does not change if one number is added to all scores of a query, so k̄ may be left out; weights add up to one, so v̄ may be added at the end. The weights
/// are divided by the sum of what they were rounded to. S and Σ p·v̂ are exact sums in int32, up to 32 000 channels a head; everything else is one rounded IEEE
/// operation after another: the same bits on every instruction set and for any number of threads.
/// </summary>
/// <remarks>
/// <para>Means of keys (Zhang et al., SageAttention, 2025) are what makes 8 bits enough: keys of trained networks have channels whose mean is far larger than their spread.</para>
/// <para>Error of an output against exact attention: a weight is off by at most 1/510 of the largest weight, a value by d/2, a score by the rounding of queries and keys,
/// ε = (|q|₁·b/2 + |k − k̄|₁·max|q|/254)·scale, which changes weights by a factor e^±ε.</para>
/// </remarks>
public sealed unsafe class Int8Attention : IDisposable
{
    private readonly Avx512VnniProduct? _assembled;

    /// <summary>Makes the kernel of an instruction set.</summary>
    /// <exception cref="System.ComponentModel.Win32Exception">The system refuses executable memory.</exception>
    /// <exception cref="PlatformNotSupportedException">There is no way to executable memory on this system.</exception>
    public Int8Attention(InstructionSet set)
    {
        InstructionSet = set;
        if (set == InstructionSet.Avx512Vnni) _assembled = new Avx512VnniProduct(bf16: false);
    }

    /// <summary>What it asks of the processor.</summary>
    public InstructionSet InstructionSet { get; }

    /// <summary>Machine code in words; empty where the runtime compiles the kernel.</summary>
    public IReadOnlyList<string> Listing => _assembled?.Listing ?? [];

    /// <summary>Bytes of scratch that <see cref="Run"/> needs: codes of keys and values, and one tile's state per thread.</summary>
    /// <param name="job">Shapes; the pointers are not looked at.</param>
    /// <param name="threads">Threads of the pool.</param>
    public static long ScratchBytes(in AttentionJob job, int threads) => new Int8AttentionLayout(job, bf16: false).Total(job, threads);

    /// <summary>Runs the job.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">Shapes and memory. Masks and causality are for <see cref="FloatAttention"/>.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    /// <exception cref="ArgumentException">There are no heads, no keys or no channels; or there is a mask.</exception>
    public void Run(WorkerPool pool, in AttentionJob job, void* scratch)
    {
        Check(job);
        if (job.Batch < 1 || job.Queries < 1) return;
        switch (InstructionSet)
        {
            case InstructionSet.Avx512Vnni:
                Run<Simd512, ByteLanes512, Vector512<float>, Vector512<int>, Avx512VnniProduct.Routines>(pool, job, scratch, _assembled!.Products, bf16: false);
                break;
            case InstructionSet.Avx512BW:
                Run<Simd512, ByteLanes512, Vector512<float>, Vector512<int>>(pool, job, scratch);
                break;
            case InstructionSet.AvxVnni:
                Run<Simd256, ByteLanes256<AvxVnniDot>, Vector256<float>, Vector256<int>>(pool, job, scratch);
                break;
            case InstructionSet.Avx2:
                Run<Simd256, ByteLanes256<Avx2Dot>, Vector256<float>, Vector256<int>>(pool, job, scratch);
                break;
            case InstructionSet.Vector128:
                Run<Simd128, ByteLanes128, Vector128<float>, Vector128<int>>(pool, job, scratch);
                break;
            default:
                Run<Simd1, ByteLanes1, float, int>(pool, job, scratch);
                break;
        }

        GC.KeepAlive(this);
    }

    /// <inheritdoc/>
    public void Dispose() => _assembled?.Dispose();

    private static void Run<TSimd, TLanes, TFloat, TInt>(WorkerPool pool, in AttentionJob job, void* scratch)
        where TSimd : struct, ISimd<TFloat>
        where TLanes : struct, IByteLanes<TFloat, TInt>
        where TFloat : struct
        where TInt : struct
        => Run<TSimd, TLanes, TFloat, TInt, ByteProduct<TSimd, TLanes, TFloat, TInt>>(pool, job, scratch, default, bf16: false);

    /// <summary>Refuses what neither integers nor bfloat16 have a form for.</summary>
    /// <exception cref="ArgumentException">There are no heads, no keys or no channels; or there is a mask.</exception>
    internal static void Check(in AttentionJob job)
    {
        if (job.Heads < 1 || job.Keys < 1 || job.HeadWidth < 1 || job.ValueWidth < 1) throw new ArgumentException("an attention needs heads, keys and channels", nameof(job));
        if (job.Causal || job.Mask != null) throw new ArgumentException("only attention in float has masks", nameof(job));
    }

    /// <summary>Statistics, packing, tiles of queries.</summary>
    internal static void Run<TSimd, TLanes, TFloat, TInt, TProduct>(WorkerPool pool, in AttentionJob job, void* scratch, TProduct product, bool bf16)
        where TSimd : struct, ISimd<TFloat>
        where TLanes : struct, IByteLanes<TFloat, TInt>
        where TFloat : struct
        where TInt : struct
        where TProduct : struct, IByteProduct
    {
        Int8AttentionMemory memory = new((byte*)scratch, new Int8AttentionLayout(job, bf16), job.Batch, job.Heads);
        double elements = (double)job.Batch * job.Keys * (memory.Layout.KeyChannels + memory.Layout.ValueChannels);
        Int8StatisticsBody<TSimd, TFloat> statistics = new(job, memory);
        pool.For(statistics.Pieces, statistics, 0.1 * elements);
        Int8PackBody<TSimd, TLanes, TFloat, TInt> packing = new(job, memory);
        pool.For(packing.Pieces, packing, 0.3 * elements);

        // One piece per thread, so that each has a state of its own; they draw tiles of queries from a counter.
        *memory.Counter = 0;
        int tiles = job.Batch * job.Heads * memory.Layout.QueryTiles;
        pool.For(Math.Min(pool.Threads, tiles), new Int8AttentionBody<TSimd, TLanes, TFloat, TInt, TProduct>(job, memory, product));
    }
}

using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// Attention in bfloat16 as one streaming pass, where the processor has <c>vdpbf16ps</c>. For one head, with queries q, keys k, values v and b(x) the nearest bfloat16, halves to even:
/// <code>
///   q̂[i] = b(q[i])      k̂[j] = b(k[j] − k̄)      v̂[j] = b(v[j] − v̄)      k̄ = mean of the keys, v̄ = middle of the values' range, per channel
/// </code>
/// then for each block of 240 keys, with a = scale·log₂e and m, c, O, l the query's running maximum, offset, output and sum of weights,
/// <code>
///   s[j] = Σ q̂·k̂[j]     m′ = max(m, max s)      c′ = −m′·a      p[j] = b(255·2^fma(s[j], a, c′))      γ = 2^(c′ − c)
///   O = fma(O, γ, Σ p·v̂)                         l = fma(l, γ, Σ p)                                      output = O·(1/l) + v̄
/// </code>
/// Sums are floats. Their order is that of the instruction: pairs of channels (of keys for Σ p) one after the other, in each pair first the second product, then the first, each added
/// with one rounding. Products of two bfloat16 are exact; numbers below 2^−126 count as 0.
/// </summary>
/// <remarks>
/// Where the instruction is missing <see cref="FloatAttention"/> takes its place: results differ, to first order, by at most
/// 2^−7·(1 + Σ|q·(k − k̄)|·scale) of the largest |v|, with the largest such sum of a query and a key.
/// </remarks>
public sealed unsafe class Bf16Attention : IDisposable
{
    private readonly Avx512VnniProduct _products = new(bf16: true);

    /// <summary>Whether this process can run it.</summary>
    public static bool IsSupported { get; } = KernelTable.Available.Contains(InstructionSet.Avx512Vnni) && X86Base.CpuId(7, 0).Eax >= 1 && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0;

    /// <summary>Machine code in words.</summary>
    public IReadOnlyList<string> Listing => _products.Listing;

    /// <summary>Bytes of scratch that <see cref="Run"/> needs.</summary>
    /// <param name="job">Shapes; the pointers are not looked at.</param>
    /// <param name="threads">Threads of the pool.</param>
    public static long ScratchBytes(in AttentionJob job, int threads) => new Int8AttentionLayout(job, bf16: true).Total(job, threads);

    /// <summary>Runs the job.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">Shapes and memory. Masks and causality are for <see cref="FloatAttention"/>.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    /// <exception cref="ArgumentException">There are no heads, no keys or no channels; or there is a mask.</exception>
    public void Run(WorkerPool pool, in AttentionJob job, void* scratch)
    {
        Int8Attention.Check(job);
        if (job.Batch < 1 || job.Queries < 1) return;
        Int8Attention.Run<Simd512, ByteLanes512, Vector512<float>, Vector512<int>, Avx512VnniProduct.Routines>(pool, job, scratch, _products.Products, bf16: true);
        GC.KeepAlive(this);
    }

    /// <inheritdoc/>
    public void Dispose() => _products.Dispose();
}

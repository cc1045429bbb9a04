using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>Attention in single precision as one streaming pass: no matrix of queries × keys is stored.</summary>
public static unsafe class FloatAttention
{
    /// <summary>Bytes of scratch that <see cref="Run"/> needs.</summary>
    /// <param name="job">Shapes; the pointers are not looked at.</param>
    /// <param name="threads">Threads of the pool.</param>
    /// <param name="level">Instruction set.</param>
    public static long ScratchBytes(in AttentionJob job, int threads, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary>Runs the job.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">Shapes and memory.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/> bytes, aligned to 64.</param>
    /// <param name="level">Instruction set.</param>
    public static void Run(WorkerPool pool, in AttentionJob job, void* scratch, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();
}

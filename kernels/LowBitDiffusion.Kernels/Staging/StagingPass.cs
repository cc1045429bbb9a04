using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Staging;

/// <summary>Runs a <see cref="StagingJob"/>.</summary>
public static unsafe class StagingPass
{
    /// <summary>Writes codes.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">What to read and how to change it.</param>
    /// <param name="codes">Padded destination <c>[Batch, PaddedHeight, PaddedWidth, Channels]</c>; its border is filled with the zero points.</param>
    /// <param name="level">Instruction set; the codes do not depend on it.</param>
    public static void Quantize(WorkerPool pool, in StagingJob job, byte* codes, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary>Writes floats.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="job">What to read and how to change it; its quantizers are not used.</param>
    /// <param name="values">Padded destination <c>[Batch, PaddedHeight, PaddedWidth, Channels]</c>; its border is filled with 0.</param>
    /// <param name="level">Instruction set; the values do not depend on it.</param>
    public static void Store(WorkerPool pool, in StagingJob job, float* values, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();
}

using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Normalization;

/// <summary>Layer normalisation over the channels of each row.</summary>
public static unsafe class LayerNorm
{
    /// <summary>
    /// Mean and <c>1/√(var + ε)</c> (biased variance) of each row. Sums are in double precision over 32 interleaved partial sums: the same bits for every level.
    /// </summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Rows and channels.</param>
    /// <param name="input">Rows.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="mean">One mean per row.</param>
    /// <param name="inverseDeviation">One 1/√(var + ε) per row.</param>
    /// <param name="level">Instruction set; the result does not depend on it.</param>
    public static void Statistics(
        WorkerPool pool, in RowShape shape, RowView input, float epsilon, float* mean, float* inverseDeviation, SimdLevel level = SimdLevel.Auto) =>
        throw new NotImplementedException();

    /// <summary><c>(x − mean)·inverseDeviation·weight[c] + bias[c]</c> for each row.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Rows and channels.</param>
    /// <param name="input">Rows.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="weight">One factor per channel, or null for neither factor nor bias.</param>
    /// <param name="bias">One offset per channel; given exactly where <paramref name="weight"/> is.</param>
    /// <param name="output">Rows; may be the input.</param>
    /// <param name="level">Instruction set; the result does not depend on it.</param>
    public static void Apply(
        WorkerPool pool, in RowShape shape, RowView input, float epsilon, float* weight, float* bias, RowView output, SimdLevel level = SimdLevel.Auto) =>
        throw new NotImplementedException();
}

using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Activation functions on rows. The same bits at every level.</summary>
public static unsafe class Activations
{
    /// <summary><c>output = activation(x)</c>; the output may be the input.</summary>
    public static void Apply(WorkerPool pool, in RowShape shape, RowView x, Activation activation, RowView output, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary>First half of a row times exact GELU of its second half.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Rows; the channels are those of the output.</param>
    /// <param name="x">Rows of twice the channels.</param>
    /// <param name="output">Rows.</param>
    /// <param name="level">Instruction set; the result does not depend on it.</param>
    public static void Geglu(WorkerPool pool, in RowShape shape, RowView x, RowView output, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();

    /// <summary>Softmax over the channels of each row; the output may be the input.</summary>
    public static void Softmax(WorkerPool pool, in RowShape shape, RowView x, RowView output, SimdLevel level = SimdLevel.Auto) => throw new NotImplementedException();
}

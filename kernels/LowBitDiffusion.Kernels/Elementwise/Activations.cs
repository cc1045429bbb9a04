using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Activation functions on rows. The same bits at every level.</summary>
public static class Activations
{
    /// <summary><c>output = activation(x)</c>; the output may be the input.</summary>
    /// <exception cref="ArgumentException">There is no such activation.</exception>
    public static void Apply(WorkerPool pool, in RowShape shape, RowView x, Activation activation, RowView output, SimdLevel level = SimdLevel.Auto)
    {
        switch (activation)
        {
            case Activation.None: Apply<IdentityActivation>(pool, shape, x, output, level); break;
            case Activation.Silu: Apply<SiluActivation>(pool, shape, x, output, level); break;
            case Activation.Gelu: Apply<GeluActivation>(pool, shape, x, output, level); break;
            case Activation.GeluTanh: Apply<GeluTanhActivation>(pool, shape, x, output, level); break;
            case Activation.QuickGelu: Apply<QuickGeluActivation>(pool, shape, x, output, level); break;
            default: throw new ArgumentException($"no activation {activation}", nameof(activation));
        }
    }

    /// <summary>First half of a row times exact GELU of its second half.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Rows; the channels are those of the output.</param>
    /// <param name="x">Rows of twice the channels.</param>
    /// <param name="output">Rows; may be the first half of the input.</param>
    /// <param name="level">Instruction set; the result does not depend on it.</param>
    public static void Geglu(WorkerPool pool, in RowShape shape, RowView x, RowView output, SimdLevel level = SimdLevel.Auto) =>
        RowLoop.Run(pool, shape, x, x.From(shape.Channels), x.From(shape.Channels), Broadcast.None, output, new GegluOperator(), level);

    private static void Apply<TActivation>(WorkerPool pool, in RowShape shape, RowView x, RowView output, SimdLevel level) where TActivation : struct, IActivation =>
        RowLoop.Run(pool, shape, x, default, default, Broadcast.None, output, new ActivationOperator<TActivation>(), level);
}

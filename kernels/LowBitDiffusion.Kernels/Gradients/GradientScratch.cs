using LowBitDiffusion.Kernels.Memory;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// Memory that a gradient needs while it is computed, kept by the calling thread for the next one: thousands of layers follow each other, and memory fresh from the system costs more than what is done in it.
/// What is in it is arbitrary.
/// </summary>
internal static unsafe class GradientScratch
{
    [ThreadStatic]
    private static NativeBuffer?[]? s_buffers;

    /// <summary>What memory is used for; each use has its own.</summary>
    internal enum Use
    {
        /// <summary>An image with its padding.</summary>
        Image,
        /// <summary>Packed weights.</summary>
        Weights,
    }

    /// <summary>Memory for so many floats, and a vector's worth behind them.</summary>
    public static float* Floats(Use use, long count)
    {
        NativeBuffer?[] buffers = s_buffers ??= new NativeBuffer?[2];
        nuint bytes = checked((nuint)count * sizeof(float));
        if (buffers[(int)use] is not { } buffer || buffer.Length < bytes)
        {
            buffers[(int)use]?.Dispose();
            buffers[(int)use] = buffer = new NativeBuffer(bytes);
        }

        return (float*)buffer.Pointer;
    }
}

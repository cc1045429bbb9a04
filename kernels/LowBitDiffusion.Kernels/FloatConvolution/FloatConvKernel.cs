using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.FloatConvolution;

/// <summary>
/// Convolution in single precision for layers that are not quantized; a linear layer is the 1×1 case (<see cref="ConvGeometry.Linear"/>).
/// Each output is one chain of fused multiply-adds in the order of the packed weights' K, whatever the tiling: the result is the same bits for any number of
/// threads
/// and, on processors with fused multiply-add, for every level.
/// </summary>
public static unsafe class FloatConvKernel
{
    /// <summary>Bytes that <see cref="Pack"/> takes.</summary>
    public static long PackedBytes(int outChannels, int inChannels, int kernelHeight = 1, int kernelWidth = 1, SimdLevel level = SimdLevel.Auto) =>
        PackedFloatWeights.ByteLength(outChannels, (long)inChannels * kernelHeight * kernelWidth, level.Resolve());

    /// <summary>Packs weights.</summary>
    /// <param name="weights"><c>[outChannels, inChannels, kernelHeight, kernelWidth]</c>, row-major.</param>
    /// <param name="outChannels">Output channels.</param>
    /// <param name="inChannels">Input channels.</param>
    /// <param name="kernelHeight">Rows of the kernel; 1 for a linear layer.</param>
    /// <param name="kernelWidth">Columns of the kernel; 1 for a linear layer.</param>
    /// <param name="level">The level whose kernel will read them.</param>
    /// <exception cref="ArgumentException">The weights do not have that many elements.</exception>
    /// <exception cref="OutOfMemoryException">The system refuses.</exception>
    public static PackedFloatWeights Pack(
        ReadOnlySpan<float> weights, int outChannels, int inChannels, int kernelHeight = 1, int kernelWidth = 1, SimdLevel level = SimdLevel.Auto)
    {
        int taps = kernelHeight * kernelWidth, depth = inChannels * taps;
        if (weights.Length != (long)outChannels * depth)
        {
            throw new ArgumentException($"{weights.Length} weights are not {outChannels}x{inChannels}x{kernelHeight}x{kernelWidth}", nameof(weights));
        }

        PackedFloatWeights packed = new(outChannels, inChannels, kernelHeight, kernelWidth, level.Resolve());
        int lanes = packed.VectorWidth;
        float* target = packed.Data;
        for (int panel = 0; panel < Panels.Count(outChannels, lanes); panel++)
        {
            int first = panel * 2 * lanes, width = Panels.Vectors(panel, outChannels, lanes) * lanes, columns = Math.Min(width, outChannels - first);
            for (int column = 0; column < columns; column++)
            {
                ReadOnlySpan<float> kernel = weights.Slice((first + column) * depth, depth);
                for (int tap = 0; tap < taps; tap++)
                {
                    for (int channel = 0; channel < inChannels; channel++)
                    {
                        target[((nint)tap * inChannels + channel) * width + column] = kernel[channel * taps + tap];
                    }
                }
            }

            target += (nint)depth * width;
        }

        return packed;
    }

    /// <summary>Runs the convolution.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="walk">Shapes, which must agree with the weights, and how the output reads the input.</param>
    /// <param name="input">Padded image <c>[Batch, StoredHeight, StoredWidth, Channels]</c>.</param>
    /// <param name="weights">Packed weights.</param>
    /// <param name="epilogue">What happens to the sums, and where they go.</param>
    /// <exception cref="ArgumentException">Weights and geometry disagree.</exception>
    public static void Run(WorkerPool pool, ConvWalk walk, float* input, PackedFloatWeights weights, in ConvEpilogue epilogue)
    {
        ConvGeometry geometry = walk.Geometry;
        if (geometry.OutChannels != weights.OutChannels || geometry.Channels != weights.InChannels
            || geometry.KernelHeight != weights.KernelHeight || geometry.KernelWidth != weights.KernelWidth)
        {
            throw new ArgumentException(
                $"weights of {weights.OutChannels}x{weights.InChannels}x{weights.KernelHeight}x{weights.KernelWidth} do not fit {geometry}", nameof(weights));
        }

        Run(pool, walk, input, weights.Data, weights.Level, epilogue);
        GC.KeepAlive(weights);
    }

    /// <summary>Runs the convolution on panels in the caller's memory.</summary>
    internal static void Run(WorkerPool pool, ConvWalk walk, float* input, float* panels, SimdLevel level, in ConvEpilogue epilogue)
    {
        if (walk.Geometry.Rows <= 0) return;
        Job job = new() { Pool = pool, Walk = walk, Input = input, Weights = panels, Epilogue = epilogue };
        SimdDispatch.Run(level, ref job);
    }

    private struct Job : ISimdJob
    {
        public WorkerPool Pool;
        public ConvWalk Walk;
        public float* Input;
        public float* Weights;
        public ConvEpilogue Epilogue;

        public readonly void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            FloatConvBody<TSimd, TVector> body = new(Walk, Input, Weights, Epilogue, Pool.Threads);
            Pool.For(body.Pieces, body);
        }
    }
}

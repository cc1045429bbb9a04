using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.FloatConvolution;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Gradients;

/// <summary>
/// A convolution or linear layer and its two gradients, each one matrix product on the kernels of the runtime. Images are dense NHWC, weights <c>[out, in, k, k]</c>.
/// <code>
///   y  = conv(pad(x), w) + b
///   dx = conv(spread(dy), w flipped, in and out exchanged)
///   dw = Σ over pixels of dy ⊗ the patch of x
/// </code>
/// Results do not depend on the number of threads.
/// </summary>
public static unsafe class LayerGradients
{
    /// <summary>The layer itself.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Shapes.</param>
    /// <param name="x">Input.</param>
    /// <param name="weight">Weight.</param>
    /// <param name="bias">One number per output channel, or empty.</param>
    /// <param name="y">Output, overwritten.</param>
    /// <exception cref="ArgumentException">A length does not fit the shape.</exception>
    public static void Forward(WorkerPool pool, in LayerShape shape, ReadOnlySpan<float> x, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, Span<float> y)
    {
        Require(shape.InElements, x.Length, nameof(x));
        Require(shape.OutElements, y.Length, nameof(y));
        if (!bias.IsEmpty) Require(shape.OutChannels, bias.Length, nameof(bias));
        ConvGeometry geometry = shape.Padded;
        using PackedFloatWeights packed = FloatConvKernel.Pack(weight, shape.OutChannels, shape.InChannels, shape.Kernel, shape.Kernel);
        fixed (float* input = x, output = y, biases = bias)
        {
            ConvEpilogue epilogue = new() { Bias = biases, OutputScale = 1, Output = output, OutputStride = shape.OutChannels };
            if (!shape.Pads)
            {
                FloatConvKernel.Run(pool, geometry, input, packed, epilogue);
                return;
            }

            using NativeBuffer padded = Pad(pool, shape, input);
            FloatConvKernel.Run(pool, geometry, (float*)padded.Pointer, packed, epilogue);
        }
    }

    /// <summary>Gradient of the input.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Shapes.</param>
    /// <param name="outputGradient">Gradient of the output.</param>
    /// <param name="weight">Weight.</param>
    /// <param name="inputGradient">Gradient of the input, overwritten.</param>
    /// <exception cref="ArgumentException">A length does not fit the shape.</exception>
    public static void Input(WorkerPool pool, in LayerShape shape, ReadOnlySpan<float> outputGradient, ReadOnlySpan<float> weight, Span<float> inputGradient)
    {
        Require(shape.OutElements, outputGradient.Length, nameof(outputGradient));
        Require(shape.Weights, weight.Length, nameof(weight));
        Require(shape.InElements, inputGradient.Length, nameof(inputGradient));
        ConvGeometry geometry = shape.Transposed;
        using PackedFloatWeights packed = FloatConvKernel.Pack(Flip(shape, weight), shape.InChannels, shape.OutChannels, shape.Kernel, shape.Kernel);
        fixed (float* source = outputGradient, target = inputGradient)
        {
            ConvEpilogue epilogue = new() { OutputScale = 1, Output = target, OutputStride = shape.InChannels };
            if (shape is { Kernel: 1, Stride: 1, Pads: false })
            {
                FloatConvKernel.Run(pool, geometry, source, packed, epilogue);
                return;
            }

            using NativeBuffer spread = Image(geometry);
            pool.For(shape.Batch * shape.OutHeight, new ScatterBody
            {
                Source = source,
                Height = shape.OutHeight,
                Width = shape.OutWidth,
                Channels = shape.OutChannels,
                Target = (float*)spread.Pointer,
                TargetHeight = geometry.Height,
                TargetWidth = geometry.Width,
                Top = shape.Kernel - 1 - shape.PadTop,
                Left = shape.Kernel - 1 - shape.PadLeft,
                Step = shape.Stride,
            });
            FloatConvKernel.Run(pool, geometry, (float*)spread.Pointer, packed, epilogue);
        }
    }

    /// <summary>Gradient of the weight.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Shapes.</param>
    /// <param name="x">Input.</param>
    /// <param name="outputGradient">Gradient of the output.</param>
    /// <param name="weightGradient">Gradient of the weight, overwritten.</param>
    /// <exception cref="ArgumentException">A length does not fit the shape.</exception>
    public static void Weight(WorkerPool pool, in LayerShape shape, ReadOnlySpan<float> x, ReadOnlySpan<float> outputGradient, Span<float> weightGradient)
    {
        Require(shape.InElements, x.Length, nameof(x));
        Require(shape.OutElements, outputGradient.Length, nameof(outputGradient));
        Require(shape.Weights, weightGradient.Length, nameof(weightGradient));
        fixed (float* input = x, gradient = outputGradient, target = weightGradient)
        {
            // Rows that fill whole vectors are read in place; others need the slack behind a padded copy.
            bool inPlace = !shape.Pads && shape.Kernel * shape.InChannels % SimdLevel.Auto.Lanes() == 0;
            using NativeBuffer? padded = inPlace ? null : Pad(pool, shape, input);
            Job job = new() { Pool = pool, Geometry = shape.Padded, Input = padded is null ? input : (float*)padded.Pointer, Gradient = gradient, Target = target };
            SimdDispatch.Run(SimdLevel.Auto, ref job);
        }
    }

    private static NativeBuffer Pad(WorkerPool pool, in LayerShape shape, float* input)
    {
        ConvGeometry geometry = shape.Padded;
        NativeBuffer padded = Image(geometry);
        pool.For(shape.Batch * shape.Height, new ScatterBody
        {
            Source = input,
            Height = shape.Height,
            Width = shape.Width,
            Channels = shape.InChannels,
            Target = (float*)padded.Pointer,
            TargetHeight = geometry.Height,
            TargetWidth = geometry.Width,
            Top = shape.PadTop,
            Left = shape.PadLeft,
            Step = 1,
        });
        return padded;
    }

    private static NativeBuffer Image(in ConvGeometry geometry) => new((nuint)geometry.Batch * (nuint)geometry.Height * (nuint)geometry.Width * (nuint)geometry.Channels * sizeof(float));

    /// <summary><c>w′[in, out, k − 1 − row, k − 1 − column] = w[out, in, row, column]</c>.</summary>
    private static float[] Flip(in LayerShape shape, ReadOnlySpan<float> weight)
    {
        int taps = shape.Kernel * shape.Kernel;
        float[] flipped = GC.AllocateUninitializedArray<float>(weight.Length);
        for (int o = 0; o < shape.OutChannels; o++)
        {
            for (int c = 0; c < shape.InChannels; c++)
            {
                ReadOnlySpan<float> source = weight.Slice((o * shape.InChannels + c) * taps, taps);
                Span<float> target = flipped.AsSpan((c * shape.OutChannels + o) * taps, taps);
                for (int tap = 0; tap < taps; tap++) target[taps - 1 - tap] = source[tap];
            }
        }

        return flipped;
    }

    private static void Require(long expected, int found, string name)
    {
        if (expected != found) throw new ArgumentException($"expected {expected} elements, found {found}", name);
    }

    private struct Job : ISimdJob
    {
        public WorkerPool Pool;
        public ConvGeometry Geometry;
        public float* Input;
        public float* Gradient;
        public float* Target;

        public readonly void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            WeightGradientBody<TSimd, TVector> body = new(Geometry, Input, Gradient, Target);
            Pool.For(body.Pieces, body);
        }
    }
}

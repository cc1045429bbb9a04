using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.FloatConvolution;
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
        Require(shape.Weights, weight.Length, nameof(weight));
        fixed (float* input = x, output = y, biases = bias, weights = weight)
        {
            float* packed = Pack(pool, shape, weights, exchanged: false);
            ConvEpilogue epilogue = new() { Bias = biases, OutputScale = 1, Output = output, OutputStride = shape.OutChannels };
            FloatConvKernel.Run(pool, new ConvWalk(geometry), shape.Pads ? Pad(pool, shape, input) : input, packed, SimdLevel.Auto, epilogue);
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
        fixed (float* source = outputGradient, target = inputGradient, weights = weight)
        {
            float* packed = Pack(pool, shape, weights, exchanged: true);
            ConvEpilogue epilogue = new() { OutputScale = 1, Output = target, OutputStride = shape.InChannels };
            float* image = shape is { Kernel: 1, Stride: 1, Pads: false }
                ? source
                : Spread(pool, source, shape.OutHeight, shape.OutWidth, geometry, shape.Kernel - 1 - shape.PadTop, shape.Kernel - 1 - shape.PadLeft, shape.Stride);
            FloatConvKernel.Run(pool, new ConvWalk(geometry), image, packed, SimdLevel.Auto, epilogue);
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
            Job job = new() { Pool = pool, Walk = new ConvWalk(shape.Padded), Input = inPlace ? input : Pad(pool, shape, input), Gradient = gradient, Target = target };
            SimdDispatch.Run(SimdLevel.Auto, ref job);
        }
    }

    private static float* Pad(WorkerPool pool, in LayerShape shape, float* input) =>
        Spread(pool, input, shape.Height, shape.Width, shape.Padded, shape.PadTop, shape.PadLeft, step: 1);

    private static float* Spread(WorkerPool pool, float* source, int height, int width, in ConvGeometry geometry, int top, int left, int step)
    {
        float* image = GradientScratch.Floats(GradientScratch.Use.Image, (long)geometry.Batch * geometry.Height * geometry.Width * geometry.Channels);
        SpreadBody body = new()
        {
            Source = source,
            Height = height,
            Width = width,
            Channels = geometry.Channels,
            Target = image,
            TargetHeight = geometry.Height,
            TargetWidth = geometry.Width,
            Top = top,
            Left = left,
            Step = step,
        };
        pool.For(geometry.Batch * geometry.Height, body);
        return image;
    }

    private static float* Pack(WorkerPool pool, in LayerShape shape, float* weight, bool exchanged)
    {
        int lanes = SimdLevel.Auto.Lanes(), taps = shape.Kernel * shape.Kernel, columns = exchanged ? shape.InChannels : shape.OutChannels, depth = exchanged ? shape.OutChannels : shape.InChannels;
        float* packed = GradientScratch.Floats(GradientScratch.Use.Weights, (long)Panels.PaddedColumns(columns, lanes) * depth * taps);
        PackBody body = new(weight, shape.OutChannels, shape.InChannels, taps, exchanged, packed, lanes);
        pool.For(body.Pieces, body, nanoseconds: (double)columns * depth * taps);
        return packed;
    }

    private static void Require(long expected, int found, string name)
    {
        if (expected != found) throw new ArgumentException($"expected {expected} elements, found {found}", name);
    }

    private struct Job : ISimdJob
    {
        public WorkerPool Pool;
        public ConvWalk Walk;
        public float* Input;
        public float* Gradient;
        public float* Target;

        public readonly void Run<TSimd, TVector>() where TSimd : struct, ISimd<TVector> where TVector : struct
        {
            WeightGradientBody<TSimd, TVector> body = new(Walk, Input, Gradient, Target);
            Pool.For(body.Pieces, body);
        }
    }
}

using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.FloatConvolution;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.FloatConvolution;

/// <summary>A float convolution equals the plain sum over kernel positions and channels, for every shape, level and number of threads.</summary>
public unsafe class FloatConvKernelTests
{
    private static readonly ConvGeometry[] s_shapes =
    [
        new(1, 5, 5, 1, 1, 3, 3, 1),
        new(1, 6, 7, 3, 4, 3, 3, 1),
        new(2, 10, 10, 4, 32, 3, 3, 1),
        new(2, 9, 11, 17, 33, 3, 3, 1),
        new(1, 10, 10, 64, 48, 3, 3, 1),
        new(5, 9, 9, 12, 20, 3, 3, 2),
        new(1, 11, 8, 19, 15, 2, 2, 2),
        new(1, 17, 9, 130, 70, 3, 3, 1),
        new(3, 7, 7, 24, 16, 1, 1, 1),
        new(1, 8, 8, 5, 9, 5, 1, 1),
        Upsampled(1, (5, 6), (10, 12), 40, 33, 3),
        Upsampled(2, (4, 5), (7, 9), 3, 20, 3),
        Upsampled(1, (3, 4), (8, 5), 130, 70, 2),
        Upsampled(2, (4, 4), (8, 8), 24, 16, 1),
        ConvGeometry.Linear(1, 64, 100),
        ConvGeometry.Linear(2, 33, 31),
        ConvGeometry.Linear(7, 320, 64),
        ConvGeometry.Linear(8, 1000, 17),
        ConvGeometry.Linear(67, 77, 1),
        ConvGeometry.Linear(131, 1, 3),
        ConvGeometry.Linear(200, 500, 130),
    ];

    private static ConvGeometry Upsampled(int batch, (int Height, int Width) image, (int Height, int Width) to, int channels, int outChannels, int kernel) =>
        new(batch, to.Height + 2, to.Width + 2, channels, outChannels, kernel, kernel, 1) { Vertical = new(image.Height, to.Height, 1, 1), Horizontal = new(image.Width, to.Width, 1, 1) };

    [TestCaseSource(nameof(s_shapes))]
    public void EqualsThePlainSum(ConvGeometry geometry)
    {
        using Fixture fixture = new(geometry);
        double[] expected = fixture.Plain();
        using WorkerPool pool = new(2);
        foreach (SimdLevel level in SimdLevels.Supported)
        {
            fixture.Run(pool, level);
            float[] found = fixture.Output.ToArray();
            double tolerance = 2e-7 * Math.Sqrt(geometry.Depth) * 10;
            for (int i = 0; i < found.Length; i++)
            {
                Assert.That(found[i], Is.EqualTo(expected[i]).Within(tolerance * Math.Max(1, Math.Abs(expected[i]))), $"{level}, row {i / geometry.OutChannels}, channel {i % geometry.OutChannels}");
            }
        }
    }

    [TestCaseSource(nameof(s_shapes))]
    public void IsTheSameBitsForAnyLevelAndThreads(ConvGeometry geometry)
    {
        using Fixture fixture = new(geometry);
        NativeArrays.SameBytes((pool, level) =>
        {
            fixture.Run(pool, level);
            return fixture.Output.Bytes;
        });
    }

    [Test]
    public void ResidualMayBeTheOutput()
    {
        ConvGeometry geometry = new(1, 10, 10, 40, 36, 3, 3, 1);
        using Fixture fixture = new(geometry);
        using WorkerPool pool = new(1);
        fixture.Run(pool, SimdLevel.Auto);
        float[] expected = fixture.Output.ToArray();
        fixture.Residual.Span.CopyTo(fixture.Output.Span);
        fixture.Run(pool, SimdLevel.Auto, residualIsOutput: true);
        Assert.That(fixture.Output.ToArray(), Is.EqualTo(expected));
    }

    [Test]
    public void OutputStrideLeavesTheGapsAlone()
    {
        ConvGeometry geometry = ConvGeometry.Linear(9, 20, 18);
        using WorkerPool pool = new(2);
        using NativeArray<float> input = NativeArrays.Random(9 * 20, 1), output = new(9 * 25, 77f);
        using PackedFloatWeights weights = FloatConvKernel.Pack(NativeArrays.Normal(18 * 20, 2), 18, 20);
        FloatConvKernel.Run(pool, new ConvWalk(geometry), input.Pointer, weights, new ConvEpilogue { OutputScale = 1, Output = output.Pointer, OutputStride = 25 });
        for (int row = 0; row < 9; row++)
        {
            Assert.That(output.Span.Slice(row * 25 + 18, 7).ToArray(), Is.All.EqualTo(77f), $"behind row {row}");
        }
    }

    [Test]
    public void AllocatesNothing()
    {
        using Fixture fixture = new(new(1, 10, 10, 64, 64, 3, 3, 1));
        using WorkerPool pool = new(2);
        using PackedFloatWeights weights = fixture.Pack(SimdLevel.Auto);
        NativeArrays.AllocatesNothing(() => fixture.Run(pool, weights));
    }

    [Test]
    public void WeightsOfAnotherShapeAreRefused()
    {
        using WorkerPool pool = new(1);
        using NativeArray<float> memory = new(64);
        using PackedFloatWeights weights = FloatConvKernel.Pack(new float[8], 2, 4);
        float* input = memory.Pointer;
        Assert.That(
            () => FloatConvKernel.Run(pool, new ConvWalk(ConvGeometry.Linear(1, 5, 2)), input, weights, new ConvEpilogue { Output = input, OutputScale = 1 }),
            Throws.ArgumentException.With.Message.Contains("2x4x1x1"));
        Assert.That(() => FloatConvKernel.Pack(new float[7], 2, 4), Throws.ArgumentException.With.Message.Contains("7 weights"));
    }

    /// <summary>Random operands of a convolution with everything in its epilogue.</summary>
    private sealed class Fixture(ConvGeometry geometry) : IDisposable
    {
        private readonly ConvWalk _walk = new(geometry);
        private readonly float[] _weights = NativeArrays.Normal(geometry.OutChannels * geometry.Depth, 1);
        private readonly NativeArray<float> _input = NativeArrays.Random(geometry.InputLength, 2);
        private readonly NativeArray<float> _bias = NativeArrays.Random(geometry.OutChannels, 3);
        private readonly NativeArray<float> _vector = NativeArrays.Random(geometry.Batch * geometry.OutChannels, 4);

        public NativeArray<float> Residual { get; } = NativeArrays.Random(geometry.Rows * geometry.OutChannels, 5);

        public NativeArray<float> Output { get; } = new(geometry.Rows * geometry.OutChannels, float.NaN);

        public PackedFloatWeights Pack(SimdLevel level) =>
            FloatConvKernel.Pack(_weights, geometry.OutChannels, geometry.Channels, geometry.KernelHeight, geometry.KernelWidth, level);

        public void Run(WorkerPool pool, SimdLevel level, bool residualIsOutput = false)
        {
            using PackedFloatWeights packed = Pack(level);
            Run(pool, packed, residualIsOutput);
        }

        public void Run(WorkerPool pool, PackedFloatWeights packed, bool residualIsOutput = false) =>
            FloatConvKernel.Run(pool, _walk, _input.Pointer, packed, new ConvEpilogue
            {
                Bias = _bias.Pointer,
                ImageVector = _vector.Pointer,
                ImageVectorStride = geometry.OutChannels,
                Residual = residualIsOutput ? Output.Pointer : Residual.Pointer,
                ResidualStride = geometry.OutChannels,
                OutputScale = 0.5f,
                Output = Output.Pointer,
                OutputStride = geometry.OutChannels,
            });

        public double[] Plain()
        {
            double[] output = new double[geometry.Rows * geometry.OutChannels];
            int taps = geometry.KernelHeight * geometry.KernelWidth;
            for (int i = 0; i < output.Length; i++)
            {
                int o = i % geometry.OutChannels, row = i / geometry.OutChannels;
                int x = row % geometry.OutWidth, y = row / geometry.OutWidth % geometry.OutHeight, b = row / (geometry.OutWidth * geometry.OutHeight);
                double sum = 0;
                for (int c = 0; c < geometry.Channels; c++)
                {
                    for (int t = 0; t < taps; t++)
                    {
                        int iy = y * geometry.Stride + t / geometry.KernelWidth, ix = x * geometry.Stride + t % geometry.KernelWidth;
                        sum += (double)_weights[(o * geometry.Channels + c) * taps + t] * _input.Span[((b * geometry.StoredHeight + Stored(iy, geometry.Vertical)) * geometry.StoredWidth + Stored(ix, geometry.Horizontal)) * geometry.Channels + c];
                    }
                }

                output[i] = (sum + _bias.Span[o] + _vector.Span[b * geometry.OutChannels + o] + Residual.Span[i]) * 0.5;
            }

            return output;
        }

        // A border of one position, stored as such.
        private static int Stored(int position, UpsampledAxis? axis)
        {
            if (axis is not { } a) return position;
            return position == 0 ? 0 : position == a.Size + 1 ? a.Source + 1 : 1 + (position - 1) * a.Source / a.Size;
        }

        public void Dispose()
        {
            _input.Dispose();
            _bias.Dispose();
            _vector.Dispose();
            Residual.Dispose();
            Output.Dispose();
        }
    }
}

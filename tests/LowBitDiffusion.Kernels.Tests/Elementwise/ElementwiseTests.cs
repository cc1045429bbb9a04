using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Elementwise;

/// <summary>Elementwise operations are one float operation after another, for dense and for strided rows, with every broadcast.</summary>
public unsafe class ElementwiseTests
{
    private static readonly RowShape[] s_shapes = [new(1, 1, 1), new(2, 3, 5), new(3, 7, 33), new(2, 40, 64), new(1, 3, 40000), new(2, 0, 8)];

    [Test]
    public void AddMultiplyModulate([ValueSource(nameof(s_shapes))] RowShape shape, [Values] Broadcast broadcast, [Values(0, 3)] int gap)
    {
        int stride = shape.Channels + gap;
        using NativeArray<float> x = NativeArrays.Random(shape.Rows * stride, 1), y = NativeArrays.Random(Math.Max(1, Math.Max(shape.Batch, shape.Rows)) * stride, 2), z = NativeArrays.Random(y.Length, 3);
        int Other(int row) => broadcast == Broadcast.PerImage ? row / shape.RowsPerImage : broadcast == Broadcast.Table ? row % shape.RowsPerImage : row;
        Check(shape, stride, (pool, output, level) => Arithmetic.Add(pool, shape, x.Rows(stride), y.Rows(stride), broadcast, output, level), (row, c) => x.Span[row * stride + c] + y.Span[Other(row) * stride + c]);
        Check(shape, stride, (pool, output, level) => Arithmetic.Multiply(pool, shape, x.Rows(stride), y.Rows(stride), broadcast, output, level), (row, c) => x.Span[row * stride + c] * y.Span[Other(row) * stride + c]);
        Check(
            shape, stride, (pool, output, level) => Arithmetic.Modulate(pool, shape, x.Rows(stride), y.Rows(stride), z.Rows(stride), broadcast, output, level),
            (row, c) =>
            {
                float product = x.Span[row * stride + c] * (1 + y.Span[Other(row) * stride + c]);
                return product + z.Span[Other(row) * stride + c];
            });
    }

    [Test]
    public void OneVectorForAllImagesHasStrideZero()
    {
        RowShape shape = new(3, 4, 20);
        using NativeArray<float> x = NativeArrays.Random(shape.Rows * 20, 1), y = NativeArrays.Random(20, 2);
        Check(shape, 20, (pool, output, level) => Arithmetic.Add(pool, shape, x.Rows(20), y.Rows(0), Broadcast.PerImage, output, level), (row, c) => x.Span[row * 20 + c] + y.Span[c]);
    }

    [Test]
    public void AffineDivideActivation([ValueSource(nameof(s_shapes))] RowShape shape, [Values(0, 3)] int gap)
    {
        int stride = shape.Channels + gap;
        using NativeArray<float> x = NativeArrays.Random(shape.Rows * stride, 1), divisors = new([2.5f, -3, 0.7f]);
        Check(shape, stride, (pool, output, level) => Arithmetic.Affine(pool, shape, x.Rows(stride), 2, -1, output, level), (row, c) => 2 * x.Span[row * stride + c] - 1);
        Check(shape, stride, (pool, output, level) => Arithmetic.Divide(pool, shape, x.Rows(stride), divisors.Pointer, output, level), (row, c) => x.Span[row * stride + c] / divisors.Span[row / shape.RowsPerImage]);
        Check(shape, stride, (pool, output, level) => Activations.Apply(pool, shape, x.Rows(stride), Activation.Silu, output, level), (row, c) => SiluActivation.Invoke<Simd1, float>(x.Span[row * stride + c]));
    }

    [TestCase(Activation.None)]
    [TestCase(Activation.Silu)]
    [TestCase(Activation.Gelu)]
    [TestCase(Activation.GeluTanh)]
    [TestCase(Activation.QuickGelu)]
    public void ActivationsAreTheSameBitsAtEveryLevel(Activation activation)
    {
        float[] values = [.. Enumerable.Range(-70000, 140001).Select(i => i * 0.0031f), float.NaN, float.PositiveInfinity, float.NegativeInfinity, 1e-40f, float.MaxValue, float.MinValue];
        using NativeArray<float> x = new(values), output = new(x.Length);
        NativeArrays.SameBytes((pool, level) =>
        {
            Activations.Apply(pool, new RowShape(1, 1, x.Length), x.Rows(x.Length), activation, output.Rows(x.Length), level);

            // Which of the many not-a-numbers results is not defined.
            foreach (ref float value in output.Span) value = float.IsNaN(value) ? float.NaN : value;
            return output.Bytes;
        });
    }

    [Test]
    public void GegluTakesTheGateFromTheSecondHalf()
    {
        RowShape shape = new(2, 9, 37);
        using NativeArray<float> x = NativeArrays.Random(shape.Rows * 74, 1, 3);
        Check(shape, 40, (pool, output, level) => Activations.Geglu(pool, shape, x.Rows(74), output, level), (row, c) => x.Span[row * 74 + c] * GeluActivation.Invoke<Simd1, float>(x.Span[row * 74 + 37 + c]));
    }

    [TestCase(3, 1)]
    [TestCase(4, 9)]
    [TestCase(5, 77)]
    [TestCase(300, 1024)]
    public void SoftmaxRowsSumToOne(int rows, int channels)
    {
        using NativeArray<float> x = NativeArrays.Random(rows * channels, 1, 10), output = new(rows * channels);
        NativeArrays.SameBytes((pool, level) =>
        {
            Softmax.Apply(pool, new RowShape(1, rows, channels), x.Rows(channels), output.Rows(channels), level);
            return output.Bytes;
        });
        for (int row = 0; row < rows; row++)
        {
            float[] source = x.Span.Slice(row * channels, channels).ToArray();
            double max = source.Max(), sum = source.Sum(v => Math.Exp(v - max));
            for (int c = 0; c < channels; c++) Assert.That(output.Span[row * channels + c], Is.EqualTo(Math.Exp(source[c] - max) / sum).Within(1e-6), $"row {row}, channel {c}");
        }
    }

    [Test]
    public void AllocatesNothing()
    {
        RowShape shape = new(2, 100, 64);
        using NativeArray<float> x = NativeArrays.Random(shape.Rows * 64, 1), y = NativeArrays.Random(128, 2);
        using WorkerPool pool = new(2);
        void Once()
        {
            Arithmetic.Modulate(pool, shape, x.Rows(64), y.Rows(64), y.Rows(64), Broadcast.PerImage, x.Rows(64));
            Activations.Apply(pool, shape, x.Rows(64), Activation.Gelu, x.Rows(64));
            Softmax.Apply(pool, shape, x.Rows(64), x.Rows(64));
        }

        NativeArrays.AllocatesNothing(Once);
    }

    private static void Check(RowShape shape, int stride, Action<WorkerPool, RowView, SimdLevel> compute, Func<int, int, float> expected)
    {
        using WorkerPool pool = new(2);
        using NativeArray<float> output = new(shape.Rows * stride, 77);
        foreach (SimdLevel level in SimdLevels.Supported)
        {
            output.Span.Fill(77);
            compute(pool, output.Rows(stride), level);
            for (int row = 0; row < shape.Rows; row++)
            {
                for (int c = 0; c < stride; c++)
                {
                    float value = c < shape.Channels ? expected(row, c) : 77;
                    if (output.Span[row * stride + c] != value) Assert.Fail($"{level}, row {row}, channel {c} of {shape}: {output.Span[row * stride + c]:R} instead of {value:R}");
                }
            }
        }
    }
}

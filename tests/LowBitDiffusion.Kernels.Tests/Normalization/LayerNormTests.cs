using LowBitDiffusion.Kernels.Normalization;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Normalization;

/// <summary>Layer normalisation of each row equals the definition in double precision.</summary>
public unsafe class LayerNormTests
{
    [TestCase(1, 1)]
    [TestCase(5, 8)]
    [TestCase(77, 320)]
    [TestCase(9, 33)]
    [TestCase(3, 1283)]
    public void EqualsTheDefinition(int rows, int channels)
    {
        using NativeArray<float> input = NativeArrays.Random(rows * (channels + 1), 1), weight = NativeArrays.Random(channels, 2), bias = NativeArrays.Random(channels, 3);
        using NativeArray<float> output = new(rows * channels, float.NaN), mean = new(rows), inverse = new(rows);
        using WorkerPool pool = new(2);
        RowShape shape = new(1, rows, channels);
        LayerNorm.Apply(pool, shape, input.Rows(channels + 1), 1e-5f, weight.Pointer, bias.Pointer, output.Rows(channels));
        LayerNorm.Statistics(pool, shape, input.Rows(channels + 1), 1e-5f, mean.Pointer, inverse.Pointer);
        for (int row = 0; row < rows; row++)
        {
            double[] x = [.. input.Span.Slice(row * (channels + 1), channels).ToArray().Select(v => (double)v)];
            double average = x.Average(), deviation = 1 / Math.Sqrt(x.Average(v => (v - average) * (v - average)) + 1e-5f);
            Assert.That(mean.Span[row], Is.EqualTo(average).Within(1e-6), $"mean of row {row}");
            Assert.That(inverse.Span[row], Is.EqualTo(deviation).Within(1e-6 * deviation), $"deviation of row {row}");
            for (int c = 0; c < channels; c++)
            {
                Assert.That(output.Span[row * channels + c], Is.EqualTo((x[c] - average) * deviation * weight.Span[c] + bias.Span[c]).Within(3e-6), $"row {row}, channel {c}");
            }
        }
    }

    [Test]
    public void IsTheSameBitsForAnyLevelAndThreads([Values(1, 31, 32, 100, 640)] int channels, [Values] bool affine)
    {
        const int rows = 70;
        using NativeArray<float> input = NativeArrays.Random(rows * channels, 1), weight = NativeArrays.Random(channels, 2), output = new(rows * channels), mean = new(rows), inverse = new(rows);
        RowShape shape = new(1, rows, channels);
        NativeArrays.SameBytes((pool, level) =>
        {
            float* parameters = affine ? weight.Pointer : null;
            LayerNorm.Apply(pool, shape, input.Rows(channels), 1e-5f, parameters, parameters, output.Rows(channels), level);
            LayerNorm.Statistics(pool, shape, input.Rows(channels), 1e-5f, mean.Pointer, inverse.Pointer, level);
            return [.. output.Bytes, .. mean.Bytes, .. inverse.Bytes];
        });
    }
}

using LowBitDiffusion.Kernels.Normalization;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Normalization;

/// <summary>Group normalisation folds into factors and offsets that equal the definition in double precision.</summary>
public unsafe class GroupNormTests
{
    // Batch, pixels, channels of the two sources, groups, whether gamma and beta, whether scale and shift.
    [TestCase(1, 1, 8, 0, 2, true, false)]
    [TestCase(2, 20, 8, 0, 2, true, false)]
    [TestCase(2, 64, 128, 64, 16, true, false)]
    [TestCase(1, 65, 20, 13, 3, true, true)]
    [TestCase(3, 100, 33, 0, 1, false, false)]
    [TestCase(1, 70, 30, 0, 30, true, true)]
    [TestCase(1, 5000, 32, 0, 32, false, true)]
    public void EqualsTheDefinition(int batch, int pixels, int first, int second, int groups, bool affine, bool modulated)
    {
        using Fixture fixture = new(batch, pixels, first, second, affine, modulated);
        using WorkerPool pool = new(2);
        fixture.Fold(pool, groups, SimdLevel.Auto);
        int channels = first + second, size = channels / groups;
        for (int b = 0; b < batch; b++)
        {
            for (int c = 0; c < channels; c++)
            {
                double[] group = [.. from p in Enumerable.Range(0, pixels) from k in Enumerable.Range(c / size * size, size) select (double)fixture.Input(b, p, k)];
                double mean = group.Average(), inverse = 1 / Math.Sqrt(group.Average(v => (v - mean) * (v - mean)) + Fixture.Epsilon);
                double factor = inverse * (affine ? fixture.Gamma.Span[c] : 1), offset = (affine ? fixture.Beta.Span[c] : 0) - mean * factor;
                if (modulated)
                {
                    factor *= 1.0 + fixture.Scale.Span[b * channels + c];
                    offset = offset * (1.0 + fixture.Scale.Span[b * channels + c]) + fixture.Shift.Span[b * channels + c];
                }

                Assert.That(fixture.Factor.Span[b * channels + c], Is.EqualTo(factor).Within(1e-6 * Math.Max(1, Math.Abs(factor))), $"factor of image {b}, channel {c}");
                Assert.That(fixture.Offset.Span[b * channels + c], Is.EqualTo(offset).Within(1e-6 * Math.Max(1, Math.Abs(offset))), $"offset of image {b}, channel {c}");
            }
        }
    }

    [TestCase(2, 200, 128, 64, 16)]
    [TestCase(1, 7, 20, 13, 3)]
    [TestCase(1, 4999, 3, 0, 1)]
    public void IsTheSameBitsForAnyLevelAndThreads(int batch, int pixels, int first, int second, int groups)
    {
        using Fixture fixture = new(batch, pixels, first, second, true, true);
        NativeArrays.SameBytes((pool, level) =>
        {
            fixture.Fold(pool, groups, level);
            return [.. fixture.Factor.Bytes, .. fixture.Offset.Bytes];
        });
    }

    [Test]
    public void AllocatesNothing()
    {
        using Fixture fixture = new(2, 200, 64, 64, true, true);
        using WorkerPool pool = new(2);
        NativeArrays.AllocatesNothing(() => fixture.Fold(pool, 32, SimdLevel.Auto));
    }

    [Test]
    public void GroupsThatDoNotDivideAreRefused()
    {
        using Fixture fixture = new(1, 4, 8, 0, true, false);
        using WorkerPool pool = new(1);
        Assert.That(() => fixture.Fold(pool, 3, SimdLevel.Auto), Throws.ArgumentException.With.Message.Contains("3 equal groups"));
    }

    private sealed class Fixture(int batch, int pixels, int first, int second, bool affine, bool modulated) : IDisposable
    {
        public const float Epsilon = 1e-5f;
        private readonly NativeArray<float> _first = NativeArrays.Random(batch * pixels * (first + 2), 1), _second = NativeArrays.Random(Math.Max(1, batch * pixels * second), 2, 3);
        private readonly NativeArray<byte> _scratch = new((int)GroupNorm.ScratchBytes(new(batch, pixels, first + second)), 0xCD);

        public NativeArray<float> Gamma { get; } = NativeArrays.Random(first + second, 3);

        public NativeArray<float> Beta { get; } = NativeArrays.Random(first + second, 4);

        public NativeArray<float> Scale { get; } = NativeArrays.Random(batch * (first + second), 5);

        public NativeArray<float> Shift { get; } = NativeArrays.Random(batch * (first + second), 6);

        public NativeArray<float> Factor { get; } = new(batch * (first + second), float.NaN);

        public NativeArray<float> Offset { get; } = new(batch * (first + second), float.NaN);

        public float Input(int image, int pixel, int channel) => channel < first
            ? _first.Span[(image * pixels + pixel) * (first + 2) + channel]
            : _second.Span[(image * pixels + pixel) * second + channel - first];

        public void Fold(WorkerPool pool, int groups, SimdLevel level)
        {
            RowShape shape = new(batch, pixels, first + second);
            NormSources sources = new(_first.Rows(first + 2), first, second == 0 ? default : _second.Rows(second), second);
            GroupNorm.Fold(
                pool, shape, sources, groups, Epsilon, affine ? Gamma.Pointer : null, affine ? Beta.Pointer : null,
                modulated ? Scale.Rows(shape.Channels) : default, modulated ? Shift.Rows(shape.Channels) : default, Factor.Pointer, Offset.Pointer, _scratch.Pointer, level);
        }

        public void Dispose()
        {
            foreach (NativeArray<float> array in new[] { _first, _second, Gamma, Beta, Scale, Shift, Factor, Offset }) array.Dispose();
            _scratch.Dispose();
        }
    }
}

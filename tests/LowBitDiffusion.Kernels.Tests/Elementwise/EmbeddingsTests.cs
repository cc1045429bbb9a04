using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Tests.Numerics;

namespace LowBitDiffusion.Kernels.Tests.Elementwise;

/// <summary>Fourier features (the sinusoidal embedding has golden cases).</summary>
public unsafe class EmbeddingsTests
{
    [Test]
    public void FourierIsSinesThenCosinesOfTheLogarithm()
    {
        float[] times = [0.01f, 1, 37.5f], weights = NativeArrays.Normal(7, 1, 16);
        using NativeArray<float> t = new(times), w = new(weights), output = new(3 * 20, 77);
        Embeddings.Fourier(t.Pointer, 3, w.Pointer, 7, output.Rows(20));
        for (int row = 0; row < 3; row++)
        {
            for (int i = 0; i < 7; i++)
            {
                double angle = Math.Log(times[row]) * weights[i] * 2 * Math.PI;
                Assert.That(output.Span[row * 20 + i], Is.EqualTo(Math.Sin(angle)).Within(2e-4), $"sine {i} of row {row}");
                Assert.That(output.Span[row * 20 + 7 + i], Is.EqualTo(Math.Cos(angle)).Within(2e-4), $"cosine {i} of row {row}");
            }

            Assert.That(output.Span.Slice(row * 20 + 14, 6).ToArray(), Is.All.EqualTo(77f), $"behind row {row}");
        }
    }
}

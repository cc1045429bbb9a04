using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Attention;

/// <summary>Attention in bfloat16: near exact attention by as much as eight bits allow, the same bits for any number of threads. Skipped where the processor has none.</summary>
[Category("Kernels")]
public sealed class Bf16AttentionTests
{
    [SetUp]
    public void Require() => Assume.That(Bf16Attention.IsSupported, "vdpbf16ps");

    [TestCaseSource(typeof(Int8AttentionTests), nameof(Int8AttentionTests.Cases))]
    public void Is_near_exact_attention(Int8AttentionTests.Case c)
    {
        using Int8AttentionTests.Fixture fixture = new(c);
        double[] expected = fixture.Definition();
        using WorkerPool pool = new(2);
        fixture.RunBf16(pool);
        double largest = 0, magnitude = fixture.ValueRange + Math.Abs(c.ValueMean);
        for (int i = 0; i < expected.Length; i++) largest = Math.Max(largest, Math.Abs(fixture.Output.Span[i] - expected[i]));
        // To first order 2^−7·(1 + Σ|q·(k − k̄)|·scale); numbers here are uniform in ±2 times the case's factors.
        double scores = 1.0 * c.Peak * c.Outlier * Math.Sqrt(c.Width);
        Assert.That(largest / magnitude, Is.LessThan(Math.Min((1 + scores) / 128, 0.25)), "largest error as a share of the values' range");
    }

    [TestCaseSource(typeof(Int8AttentionTests), nameof(Int8AttentionTests.Cases))]
    public void Is_the_same_bits_for_any_number_of_threads(Int8AttentionTests.Case c)
    {
        using Int8AttentionTests.Fixture fixture = new(c);
        using WorkerPool one = new(1), three = new(3);
        fixture.RunBf16(one);
        float[] expected = fixture.Output.ToArray();
        fixture.Output.Span.Fill(float.NaN);
        fixture.RunBf16(three);
        Assert.That(fixture.Output.ToArray(), Is.EqualTo(expected));
    }
}

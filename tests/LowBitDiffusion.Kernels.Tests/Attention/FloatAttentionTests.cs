using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Attention;

/// <summary>Streaming attention equals softmax over the whole matrix in double precision.</summary>
public unsafe class FloatAttentionTests
{
    /// <summary>One attention.</summary>
    public sealed record Case(int Batch, int Heads, int Queries, int Keys, int Width, int ValueWidth, bool Causal = false, bool Mask = false, double Peak = 1);

    private static readonly Case[] s_cases =
    [
        new(1, 1, 1, 1, 1, 1),
        new(2, 2, 6, 9, 4, 4),
        new(2, 3, 50, 77, 8, 8, Mask: true),
        new(1, 8, 64, 64, 40, 40),
        new(1, 2, 130, 300, 32, 32, Peak: 10),
        new(2, 1, 200, 200, 64, 64, Causal: true),
        new(1, 2, 100, 100, 17, 33, Causal: true, Mask: true),
        new(1, 1, 49, 129, 160, 160),
        new(1, 2, 5, 513, 7, 20, Mask: true, Peak: 20),
        new(1, 1, 40, 40, 512, 512),
    ];

    [TestCaseSource(nameof(s_cases))]
    public void EqualsTheDefinition(Case c)
    {
        using Fixture fixture = new(c);
        double[] expected = fixture.Definition();
        using WorkerPool pool = new(2);
        foreach (SimdLevel level in SimdLevels.Supported)
        {
            fixture.Run(pool, level);
            for (int i = 0; i < expected.Length; i++) Assert.That(fixture.Output.Span[i], Is.EqualTo(expected[i]).Within(2e-5), $"{level}, element {i}");
        }
    }

    [TestCaseSource(nameof(s_cases))]
    public void IsTheSameBitsForAnyLevelAndThreads(Case c)
    {
        using Fixture fixture = new(c);
        NativeArrays.SameBytes((pool, level) =>
        {
            fixture.Run(pool, level);
            return fixture.Output.Bytes;
        });
    }

    [Test]
    public void KeysMaskedWithMinusInfinityAreNotSeen()
    {
        // The whole first block of keys is hidden: the running maximum starts from nothing.
        using Fixture fixture = new(new Case(1, 1, 10, 140, 8, 8, Mask: true));
        fixture.Mask.Span[..139].Fill(float.NegativeInfinity);
        using WorkerPool pool = new(1);
        fixture.Run(pool, SimdLevel.Auto);
        float[] last = fixture.Value.Span.Slice(139 * 8, 8).ToArray();
        for (int query = 0; query < 10; query++) Assert.That(fixture.Output.Span.Slice(query * 8, 8).ToArray(), Is.EqualTo(last), $"query {query} sees the last key alone");
    }

    [Test]
    public void AllocatesNothing()
    {
        using Fixture fixture = new(s_cases[3]);
        using WorkerPool pool = new(2);
        AttentionJob job = fixture.Job;
        using NativeArray<byte> scratch = new((int)FloatAttention.ScratchBytes(job, 2));
        NativeArrays.AllocatesNothing(() => FloatAttention.Run(pool, job, scratch.Pointer));
    }

    private sealed class Fixture(Case c) : IDisposable
    {
        private readonly NativeArray<float> _query = NativeArrays.Random(c.Batch * c.Queries * (c.Heads * c.Width + 5), 1, c.Peak);
        private readonly NativeArray<float> _key = NativeArrays.Random(c.Batch * c.Keys * c.Heads * c.Width, 2);

        public NativeArray<float> Value { get; } = NativeArrays.Random(c.Batch * c.Keys * c.Heads * c.ValueWidth, 3);

        public NativeArray<float> Mask { get; } = new([.. NativeArrays.Normal(c.Batch * c.Keys, 4).Select(v => v > 0.5f ? -10000f : v)]);

        public NativeArray<float> Output { get; } = new(c.Batch * c.Queries * c.Heads * c.ValueWidth, float.NaN);

        public AttentionJob Job => new()
        {
            Batch = c.Batch,
            Heads = c.Heads,
            Queries = c.Queries,
            Keys = c.Keys,
            HeadWidth = c.Width,
            ValueWidth = c.ValueWidth,
            Query = _query.Rows(c.Heads * c.Width + 5),
            Key = _key.Rows(c.Heads * c.Width),
            Value = Value.Rows(c.Heads * c.ValueWidth),
            Output = Output.Rows(c.Heads * c.ValueWidth),
            Scale = 1 / MathF.Sqrt(c.Width),
            Causal = c.Causal,
            Mask = c.Mask ? Mask.Pointer : null,
            MaskStride = c.Keys,
        };

        public void Run(WorkerPool pool, SimdLevel level)
        {
            // Memory that is not a number: what is read must have been written.
            using NativeArray<float> scratch = new((int)FloatAttention.ScratchBytes(Job, pool.Threads, level) / sizeof(float), float.NaN);
            FloatAttention.Run(pool, Job, scratch.Pointer, level);
        }

        public double[] Definition()
        {
            double[] output = new double[Output.Length];
            for (int row = 0; row < c.Batch * c.Queries; row++)
            {
                for (int head = 0; head < c.Heads; head++)
                {
                    int image = row / c.Queries, keys = c.Causal ? Math.Min(c.Keys, row % c.Queries + 1) : c.Keys;
                    double[] scores = new double[keys];
                    for (int k = 0; k < keys; k++)
                    {
                        for (int d = 0; d < c.Width; d++) scores[k] += (double)Job.Query.Row(row)[head * c.Width + d] * Job.Key.Row(image * c.Keys + k)[head * c.Width + d];
                        scores[k] = scores[k] * Job.Scale + (c.Mask ? Mask.Span[image * c.Keys + k] : 0);
                    }

                    double max = scores.Max(), sum = scores.Sum(s => Math.Exp(s - max));
                    for (int d = 0; d < c.ValueWidth; d++)
                    {
                        for (int k = 0; k < keys; k++) output[(row * c.Heads + head) * c.ValueWidth + d] += Math.Exp(scores[k] - max) / sum * Job.Value.Row(image * c.Keys + k)[head * c.ValueWidth + d];
                    }
                }
            }

            return output;
        }

        public void Dispose()
        {
            foreach (NativeArray<float> array in new[] { _query, _key, Value, Mask, Output }) array.Dispose();
        }
    }
}

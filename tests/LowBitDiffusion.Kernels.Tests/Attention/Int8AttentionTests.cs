using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Tests.Memory;
using LowBitDiffusion.Kernels.Tests.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Attention;

/// <summary>Attention in integers: the same bits everywhere, and near exact attention by as much as its header says.</summary>
[Category("Kernels")]
public unsafe class Int8AttentionTests
{
    /// <summary>
    /// One attention. Queries are larger by the factor Peak: the larger, the fewer keys count. Each channel of keys and values has a mean of up to KeyMean and
    /// ValueMean, and one key is larger by the factor Outlier. Error is the largest error of an output, as a share of the values' largest magnitude without their means.
    /// </summary>
    public sealed record Case(
        int Batch, int Heads, int Queries, int Keys, int Width, int ValueWidth, double Peak = 1, float KeyMean = 0, float ValueMean = 0, float Outlier = 1, double Error = 0.01);

    internal static readonly Case[] Cases =
    [
        new(1, 1, 1, 1, 1, 1),
        new(2, 2, 6, 9, 4, 4),
        new(2, 3, 50, 77, 8, 8),
        new(1, 8, 64, 64, 40, 40),
        new(1, 2, 33, 127, 17, 33),
        new(1, 1, 49, 129, 160, 160),
        new(1, 2, 100, 256, 72, 72),
        new(2, 1, 40, 300, 64, 24),
        new(1, 2, 130, 300, 32, 32, Peak: 10, Error: 0.1),
        new(1, 1, 70, 513, 7, 20, Peak: 40, Error: 0.08),
        new(1, 2, 64, 200, 40, 40, KeyMean: 50),
        new(1, 2, 64, 200, 40, 40, ValueMean: 50),
        new(1, 2, 64, 200, 40, 40, Outlier: 30, Error: 0.14),
        new(1, 1, 40, 40, 512, 512),
    ];

    private static IEnumerable<InstructionSet> Sets => KernelTable.Available;

    [TestCaseSource(nameof(Cases))]
    public void Is_near_exact_attention(Case c)
    {
        using Fixture fixture = new(c);
        double[] expected = fixture.Definition();
        using WorkerPool pool = new(2);
        fixture.Run(pool, KernelTable.Best.InstructionSet);
        double largest = 0;
        for (int i = 0; i < expected.Length; i++) largest = Math.Max(largest, Math.Abs(fixture.Output.Span[i] - expected[i]));
        Assert.That(largest / fixture.ValueRange, Is.LessThan(c.Error), "largest error as a share of the values' range");
    }

    [TestCaseSource(nameof(Cases))]
    public void Is_the_same_bits_for_any_instruction_set_and_threads(Case c)
    {
        using Fixture fixture = new(c);
        using WorkerPool one = new(1), three = new(3);
        fixture.Run(one, InstructionSet.Scalar);
        byte[] expected = fixture.Output.Bytes;
        foreach (InstructionSet set in Sets)
        {
            foreach (WorkerPool pool in new[] { one, three })
            {
                fixture.Output.Span.Fill(float.NaN);
                fixture.Run(pool, set);
                Assert.That(fixture.Output.Bytes.AsSpan().CommonPrefixLength(expected), Is.EqualTo(expected.Length), $"first byte that differs, {set}, {pool.Threads} threads");
            }
        }
    }

    [TestCaseSource(nameof(Sets))]
    public void A_key_that_outweighs_all_others_is_copied(InstructionSet set)
    {
        // Scores of ±2000: the weight of one key is 1, and the value of that key comes back but for its own rounding.
        using Fixture fixture = new(new Case(1, 1, 40, 300, 16, 16));
        fixture.Query.Span.Fill(100);
        fixture.Key.Span.Fill(-5);
        fixture.Key.Span.Slice(217 * 16, 16).Fill(5);
        using WorkerPool pool = new(1);
        fixture.Run(pool, set);
        for (int i = 0; i < fixture.Output.Length; i++)
        {
            Assert.That(fixture.Output.Span[i], Is.EqualTo(fixture.Value.Span[(217 * 16) + (i % 16)]).Within(fixture.ValueRange / 250), $"element {i}");
        }
    }

    [TestCaseSource(nameof(Sets))]
    public void Keys_that_are_all_alike_weigh_the_same(InstructionSet set)
    {
        using Fixture fixture = new(new Case(1, 1, 5, 300, 16, 16));
        fixture.Key.Span.Fill(7);
        using WorkerPool pool = new(1);
        fixture.Run(pool, set);
        double mean = 0;
        for (int key = 0; key < 300; key++) mean += fixture.Value.Span[key * 16] / 300.0;
        Assert.That(fixture.Output.Span[0], Is.EqualTo(mean).Within(fixture.ValueRange / 250));
    }

    [TestCaseSource(nameof(Sets))]
    public void Values_that_never_change_come_back(InstructionSet set)
    {
        using Fixture fixture = new(Cases[3]);
        fixture.Value.Span.Fill(0.3f);
        using WorkerPool pool = new(1);
        fixture.Run(pool, set);
        Assert.That(fixture.Output.ToArray(), Is.All.EqualTo(0.3f));
    }

    [Test]
    public void Refuses_masks()
    {
        using Fixture fixture = new(Cases[1]);
        using WorkerPool pool = new(1);
        using Int8Attention kernel = new(InstructionSet.Scalar);
        AttentionJob causal = fixture.Job with { Causal = true }, masked = fixture.Job with { Mask = fixture.Key.Pointer };
        Assert.That(() => kernel.Run(pool, causal, null), Throws.ArgumentException.With.Message.Contains("mask"));
        Assert.That(() => kernel.Run(pool, masked, null), Throws.ArgumentException.With.Message.Contains("mask"));
    }

    [Test]
    public void Allocates_nothing()
    {
        using Fixture fixture = new(Cases[3]);
        using WorkerPool pool = new(2);
        using Int8Attention kernel = new(KernelTable.Best.InstructionSet);
        AttentionJob job = fixture.Job;
        using NativeArray<byte> scratch = new((int)Int8Attention.ScratchBytes(job, 2));
        NativeArrays.AllocatesNothing(() => kernel.Run(pool, job, scratch.Pointer));
    }

    internal sealed class Fixture : IDisposable
    {
        private readonly Case _case;

        public Fixture(Case c)
        {
            _case = c;
            Query = NativeArrays.Random(c.Batch * c.Queries * (c.Heads * c.Width + 5), 1, c.Peak);
            Key = NativeArrays.Random(c.Batch * c.Keys * c.Heads * c.Width, 2);
            Value = NativeArrays.Random(c.Batch * c.Keys * c.Heads * c.ValueWidth, 3);
            Output = new(c.Batch * c.Queries * c.Heads * c.ValueWidth, float.NaN);
            ValueRange = Value.ToArray().Max(Math.Abs);
            for (int i = 0; i < Key.Length; i++)
            {
                if (i / (c.Heads * c.Width) == c.Keys / 2) Key.Span[i] *= c.Outlier;
                Key.Span[i] += c.KeyMean * MathF.Sin(i % (c.Heads * c.Width));
            }

            for (int i = 0; i < Value.Length; i++) Value.Span[i] += c.ValueMean * MathF.Sin(i % (c.Heads * c.ValueWidth));
        }

        public NativeArray<float> Query { get; }

        public NativeArray<float> Key { get; }

        public NativeArray<float> Value { get; }

        public NativeArray<float> Output { get; }

        public double ValueRange { get; }

        public AttentionJob Job => new()
        {
            Batch = _case.Batch,
            Heads = _case.Heads,
            Queries = _case.Queries,
            Keys = _case.Keys,
            HeadWidth = _case.Width,
            ValueWidth = _case.ValueWidth,
            Query = Query.Rows(_case.Heads * _case.Width + 5),
            Key = Key.Rows(_case.Heads * _case.Width),
            Value = Value.Rows(_case.Heads * _case.ValueWidth),
            Output = Output.Rows(_case.Heads * _case.ValueWidth),
            Scale = 1 / MathF.Sqrt(_case.Width),
        };

        public void Run(WorkerPool pool, InstructionSet set)
        {
            // Memory that is not a number and ends where it must: what is read must have been written.
            using GuardedMemory scratch = new((int)Int8Attention.ScratchBytes(Job, pool.Threads));
            new Span<float>(scratch.Pointer, (int)Int8Attention.ScratchBytes(Job, pool.Threads) / sizeof(float)).Fill(float.NaN);
            using Int8Attention kernel = new(set);
            kernel.Run(pool, Job, scratch.Pointer);
        }

        public void RunBf16(WorkerPool pool)
        {
            using GuardedMemory scratch = new((int)Bf16Attention.ScratchBytes(Job, pool.Threads));
            new Span<float>(scratch.Pointer, (int)Bf16Attention.ScratchBytes(Job, pool.Threads) / sizeof(float)).Fill(float.NaN);
            using Bf16Attention kernel = new();
            kernel.Run(pool, Job, scratch.Pointer);
        }

        public double[] Definition()
        {
            double[] output = new double[Output.Length];
            for (int row = 0; row < _case.Batch * _case.Queries; row++)
            {
                for (int head = 0; head < _case.Heads; head++)
                {
                    int image = row / _case.Queries;
                    double[] scores = new double[_case.Keys];
                    for (int k = 0; k < _case.Keys; k++)
                    {
                        for (int d = 0; d < _case.Width; d++)
                            scores[k] += (double)Job.Query.Row(row)[head * _case.Width + d] * Job.Key.Row(image * _case.Keys + k)[head * _case.Width + d] * Job.Scale;
                    }

                    double max = scores.Max(), sum = scores.Sum(s => Math.Exp(s - max));
                    for (int d = 0; d < _case.ValueWidth; d++)
                    {
                        ref double o = ref output[(row * _case.Heads + head) * _case.ValueWidth + d];
                        for (int k = 0; k < _case.Keys; k++) o += Math.Exp(scores[k] - max) / sum * Job.Value.Row(image * _case.Keys + k)[head * _case.ValueWidth + d];
                    }
                }
            }

            return output;
        }

        public void Dispose()
        {
            foreach (NativeArray<float> array in new[] { Query, Key, Value, Output }) array.Dispose();
        }
    }
}

using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.OpenCL.Tests.Convolution;
using LowBitDiffusion.Kernels.OpenCL.Tests.Support;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.OpenCL.Tests.Attention;

/// <summary>Attention in integers and in bfloat16 on a device is the processor's, bit for bit.</summary>
[Category("Kernels")]
public sealed class PackedAttentionTests
{
    /// <summary>One attention. Queries are larger by the factor Peak, keys have means of up to KeyMean, and one key is larger by the factor Outlier.</summary>
    public sealed record Case(int Batch, int Heads, int Queries, int Keys, int Width, int ValueWidth, float Peak = 1, float KeyMean = 0, float Outlier = 1);

    // Each width of a head is a program of its own, which takes a driver seconds to build.
    private static readonly Case[] s_cases =
    [
        new(1, 1, 1, 1, 17, 33), new(2, 3, 50, 77, 17, 33), new(1, 2, 20, 146, 17, 33, KeyMean: 50, Outlier: 30), new(1, 2, 33, 290, 17, 33), new(2, 1, 18, 147, 17, 33, Peak: 40),
    ];

    private DeviceBench _bench = null!;

    [OneTimeSetUp]
    public void Open() => _bench = new DeviceBench();

    [OneTimeTearDown]
    public void Close() => _bench?.Dispose();

    [TearDown]
    public void Free() => _bench.Clear();

    public static IEnumerable<Case> WithWideHeads() => [.. s_cases, new(1, 1, 17, 145, 160, 160)];

    [TestCaseSource(nameof(WithWideHeads))]
    public void Integers_are_the_same_bits(Case c) => AreTheSameBits(_bench, c, bf16: false, (16, 1));

    [TestCaseSource(nameof(s_cases))]
    public void Integers_are_the_same_bits_in_large_groups(Case c) => AreTheSameBits(_bench, c, bf16: false, (1, 64));

    [TestCaseSource(nameof(s_cases))]
    public void Bfloat16_is_the_same_bits(Case c) => AreTheSameBits(_bench, c, bf16: true, (16, 1));

    [TestCaseSource(nameof(s_cases))]
    public void Bfloat16_is_the_same_bits_in_large_groups(Case c) => AreTheSameBits(_bench, c, bf16: true, (1, 64));

    [Test]
    public void Masks_are_refused() =>
        Assert.That(() => PackedAttention.Enqueue(_bench.Queue, IntegerDot.Plain, new DeviceAttention { Causal = true }, default, bf16: false), Throws.ArgumentException.With.Message.Contains("masks"));

    internal static unsafe void AreTheSameBits(DeviceBench bench, Case c, bool bf16, (int, int) tile)
    {
        if (bf16 && !Bf16Attention.IsSupported) Assert.Ignore("the processor has no products of bfloat16");
        Random random = new(c.Keys);
        int keyChannels = c.Heads * c.Width, valueChannels = c.Heads * c.ValueWidth, queryStride = keyChannels + 5;
        float[] query = Numbers(c.Batch * c.Queries * queryStride, c.Peak), key = Numbers(c.Batch * c.Keys * keyChannels, 1), value = Numbers(c.Batch * c.Keys * valueChannels, 2);
        for (int i = 0; i < key.Length; i++) key[i] = (key[i] * (i / keyChannels == c.Keys / 2 ? c.Outlier : 1)) + (c.KeyMean * MathF.Sin(i % keyChannels));
        float[] expected = new float[c.Batch * c.Queries * valueChannels];
        AttentionJob shape = new() { Batch = c.Batch, Heads = c.Heads, Queries = c.Queries, Keys = c.Keys, HeadWidth = c.Width, ValueWidth = c.ValueWidth, Scale = 1 / MathF.Sqrt(c.Width) };
        long bytes = bf16 ? Bf16Attention.ScratchBytes(shape, 1) : Int8Attention.ScratchBytes(shape, 1);
        void* scratch = NativeMemory.AlignedAlloc((nuint)bytes, 64);
        using WorkerPool pool = new(1);
        fixed (float* a = query, b = key, v = value, o = expected)
        {
            AttentionJob here = shape;
            (here.Query, here.Key, here.Value, here.Output) = (new RowView(a, queryStride), new RowView(b, keyChannels), new RowView(v, valueChannels), new RowView(o, valueChannels));
            using Int8Attention? integers = bf16 ? null : new Int8Attention(InstructionSet.Scalar);
            using Bf16Attention? floats = bf16 ? new Bf16Attention() : null;
            integers?.Run(pool, here, scratch);
            floats?.Run(pool, here, scratch);
        }

        NativeMemory.AlignedFree(scratch);
        DeviceAttention job = new()
        {
            Query = new(bench.Of<float>(query), queryStride, keyChannels),
            Key = new(bench.Of<float>(key), keyChannels, keyChannels),
            Value = new(bench.Of<float>(value), valueChannels, valueChannels),
            Output = new(bench.Room<float>(expected.Length), valueChannels, valueChannels),
            Batch = c.Batch,
            Heads = c.Heads,
            Queries = c.Queries,
            Keys = c.Keys,
            HeadWidth = c.Width,
            ValueWidth = c.ValueWidth,
            Scale = shape.Scale,
        };
        Assert.That(PackedAttention.ScratchBytes(job, bf16), Is.LessThanOrEqualTo(bytes), "the plan's scratch suffices");
        PackedAttention.Enqueue(bench.Queue, IntegerDot.Plain, job, bench.Room<byte>((int)PackedAttention.ScratchBytes(job, bf16)), bf16, tile);
        float[] found = bench.Queue.Download<float>(job.Output.Place, expected.Length);

        // Where divisions round otherwise, a code may be the next one here and there.
        if (bench.Context.Device.DividesCorrectly) IntegerMatrixTests.SameBits(found, expected, c.ToString());
        else Assert.That(found, Is.EqualTo(expected).Within(0.05), c.ToString());

        float[] Numbers(int count, float scale) => [.. Enumerable.Range(0, count).Select(_ => (2 * random.NextSingle() - 1) * 2 * scale)];
    }
}

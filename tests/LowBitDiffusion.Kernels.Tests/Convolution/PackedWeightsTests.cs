using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Tests.Convolution;

/// <summary>Packing refuses what a kernel could not compute exactly, and gives its memory back.</summary>
[Category("Kernels")]
[NonParallelizable]
public sealed class PackedWeightsTests
{
    private static readonly QuantizedConvKernel s_kernel = KernelTable.Best.QuantizedConv;

    [Test]
    public void A_code_of_minus_128_is_refused() =>
        Assert.That(() => s_kernel.Pack([-128, 0], ConvWeightShape.Linear(2, 1), [], [1f]), Throws.ArgumentException.With.Message.Contains("−128"));

    [TestCase(1)]
    [TestCase(3)]
    public void Codes_must_fill_the_shape(int count) =>
        Assert.That(() => s_kernel.Pack(new sbyte[count], ConvWeightShape.Linear(2, 1), [], [1f]), Throws.ArgumentException);

    [TestCase(1)]
    [TestCase(3)]
    public void Scales_are_one_for_each_channel_and_segment(int count) =>
        Assert.That(() => s_kernel.Pack(new sbyte[4], ConvWeightShape.Linear(4, 1), [new(0, 2), new(2, 2)], new float[count]), Throws.ArgumentException);

    [TestCase(1, 3, 3, 1, TestName = "Segments_start_at_the_first_channel")]
    [TestCase(0, 1, 2, 2, TestName = "Segments_leave_no_gap")]
    [TestCase(0, 3, 2, 2, TestName = "Segments_do_not_overlap")]
    [TestCase(0, 2, 2, 1, TestName = "Segments_reach_the_last_channel")]
    [TestCase(0, 2, 2, 3, TestName = "Segments_end_at_the_last_channel")]
    [TestCase(0, 4, 4, 0, TestName = "Segments_are_not_empty")]
    public void Segments_must_tile_the_channels(int start0, int count0, int start1, int count1) =>
        Assert.That(
            () => s_kernel.Pack(new sbyte[4], ConvWeightShape.Linear(4, 1), [new(start0, count0), new(start1, count1)], new float[2]), Throws.ArgumentException);

    [Test]
    public void A_sum_that_could_overflow_is_refused_unless_it_is_cut_into_segments()
    {
        const int Depth = QuantizedConvKernel.MaxDepth + 1;
        sbyte[] codes = new sbyte[Depth];
        Assert.That(() => s_kernel.Pack(codes, ConvWeightShape.Linear(Depth, 1), [], [1f]), Throws.ArgumentException.With.Message.Contains($"{Depth}"));
        using PackedWeights cut = s_kernel.Pack(codes, ConvWeightShape.Linear(Depth, 1), [new(0, 1), new(1, Depth - 1)], [1f, 1f]);
        Assert.That(cut.Segments, Has.Count.EqualTo(2));
    }

    [Test]
    public void A_kernel_refuses_weights_of_another_kernel_or_shape()
    {
        using WorkerPool pool = new(1);
        using PackedWeights weights = s_kernel.Pack(new sbyte[4], ConvWeightShape.Linear(4, 1), [], [1f]);
        QuantizedConvArguments arguments = new() { Weights = weights, Walk = new ConvWalk(ConvGeometry.Linear(1, 4, 1)) };
        Assert.That(() => new Vector128QuantizedConv().Run(pool, arguments), Throws.ArgumentException);
        arguments.Walk = new ConvWalk(ConvGeometry.Linear(1, 5, 1));
        Assert.That(() => s_kernel.Run(pool, arguments), Throws.ArgumentException);
    }

    [Test]
    public void Memory_is_given_back()
    {
        long before = NativeBuffer.LiveBytes;
        PackedWeights weights = s_kernel.Pack(new sbyte[4], ConvWeightShape.Linear(4, 1), [], [1f]);
        Assert.That(NativeBuffer.LiveBytes - before, Is.EqualTo((long)weights.SizeInBytes));
        weights.Dispose();
        Assert.That(NativeBuffer.LiveBytes, Is.EqualTo(before));
    }
}

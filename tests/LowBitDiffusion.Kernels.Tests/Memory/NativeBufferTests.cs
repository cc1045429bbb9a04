using LowBitDiffusion.Kernels.Memory;

namespace LowBitDiffusion.Kernels.Tests.Memory;

/// <summary>Native memory is zeroed, aligned, readable behind its end, counted and freed.</summary>
[Category("Kernels")]
[NonParallelizable]
public sealed unsafe class NativeBufferTests
{
    [TestCase(0)]
    [TestCase(1)]
    [TestCase(63)]
    [TestCase(1000)]
    [TestCase((2 << 20) - 1)]
    [TestCase(2 << 20)]
    [TestCase((5 << 20) + 3)]
    public void Is_zeroed_and_aligned_with_its_slack(int length)
    {
        using NativeBuffer buffer = new((nuint)length);

        Assert.That(buffer.Length, Is.EqualTo((nuint)length));
        Assert.That((long)buffer.Pointer % 64, Is.Zero, "alignment");
        Assert.That(new Span<byte>(buffer.Pointer, length + NativeBuffer.Slack).ContainsAnyExcept((byte)0), Is.False, "zeroed");
    }

    [Test]
    public void Dispose_frees_once_and_forbids_use()
    {
        long before = NativeBuffer.LiveBytes;
        NativeBuffer buffer = new(4096);
        Assert.That(NativeBuffer.LiveBytes - before, Is.EqualTo(4096));

        buffer.Dispose();
        buffer.Dispose();

        Assert.That(NativeBuffer.LiveBytes, Is.EqualTo(before));
        Assert.That(() => { _ = *buffer.Pointer; }, Throws.TypeOf<ObjectDisposedException>());
    }
}

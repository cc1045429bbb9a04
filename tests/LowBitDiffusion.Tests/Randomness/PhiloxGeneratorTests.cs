using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Tests.Randomness;

/// <summary>torch's CUDA generator: the Philox bijection, and its way from counters to normal numbers.</summary>
public sealed class PhiloxGeneratorTests
{
    // Known answers published with Random123 for philox4x32-10.
    [TestCase(0x00000000u, 0x00000000u, 0x00000000u, 0x00000000u, 0x00000000u, 0x00000000u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [TestCase(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [TestCase(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void BlocksAreThoseOfRandom123(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint x, uint y, uint z, uint w) =>
        Assert.That(Philox.Block(c0, c1, c2, c3, k0, k1), Is.EqualTo((x, y, z, w)));

    [Test]
    public void NormalsOfSeed0AreThoseTorchPrintsOnCuda()
    {
        float[] actual = new float[5];
        new PhiloxGenerator(0).FillNormal(actual);
        Assert.That(
            actual,
            Is.EqualTo(new[] { -0.9247f, -0.4253f, -2.6438f, 0.1452f, -0.1209f }).Within(5e-5f),
            "torch.manual_seed(0); torch.randn(5, device='cuda')");
    }

    // Printed by torch for torch.randn([1, 64, 2048]) with seed 42 on a device that holds 43008 threads, so the 131072 values take every thread's four normals.
    [TestCase(0, new[] { 0.1940f, 2.1614f, -0.1721f }, new[] { 1.4540f, -2.7733f, -0.8932f })]
    [TestCase(1, new[] { -0.4574f, 0.8063f, 0.1580f }, new[] { 0.1124f, 0.2769f, -1.2535f })]
    [TestCase(61, new[] { -0.4861f, 0.3358f, 1.0578f }, new[] { -0.7282f, 0.5087f, 0.1318f })]
    [TestCase(63, new[] { -1.2356f, -0.4083f, -0.4695f }, new[] { -0.4841f, 1.2850f, -0.0282f })]
    public void ALargeDrawIsThatOfTheDeviceItIsMadeOn(int row, float[] first, float[] last)
    {
        float[] values = new float[64 * 2048];
        new PhiloxGenerator(42, gridThreads: 43008).FillNormal(values);
        float[] actual = values[(row * 2048)..((row + 1) * 2048)];
        Assert.That(actual[..3], Is.EqualTo(first).Within(6e-5f), "first values of the row");
        Assert.That(actual[^3..], Is.EqualTo(last).Within(6e-5f), "last values of the row");
    }

    [Test]
    public void AValueDoesNotDependOnTheSizeOfTheDraw()
    {
        float[] small = new float[7];
        float[] large = new float[4096];
        new PhiloxGenerator(3).FillNormal(small);
        new PhiloxGenerator(3).FillNormal(large);
        Assert.That(large[..7], Is.EqualTo(small));
    }

    [Test]
    public void EveryDrawAdvancesTheOffset()
    {
        var generator = new PhiloxGenerator(3);
        float[] first = new float[8];
        float[] second = new float[8];
        generator.FillNormal(first);
        generator.FillNormal(second);
        Assert.That(second, Has.None.Matches<float>(value => first.Contains(value)));
    }

    // With 256 threads: thread 0 makes values 0, 256, 512 and 768 of its first four normals and 1024 of its second four.
    [Test]
    public void ASmallDeviceReusesItsThreads()
    {
        float[] unlimited = new float[2048];
        float[] limited = new float[2048];
        new PhiloxGenerator(9).FillNormal(unlimited);
        var generator = new PhiloxGenerator(9, gridThreads: 256);
        generator.FillNormal(limited);
        float[] next = new float[256];
        new PhiloxGenerator(9).FillNormal(next);
        var secondDraw = new PhiloxGenerator(9);
        secondDraw.FillNormal(next);
        secondDraw.FillNormal(next);

        Assert.That(limited[..256], Is.EqualTo(unlimited[..256]), "first normal of each thread");
        Assert.That(limited[256..512], Has.None.Matches<float>(value => unlimited.Contains(value)), "second normal of each thread");
        Assert.That(limited[1024..1280], Is.EqualTo(next), "first normal of each thread at the next offset");
    }

    [Test]
    public void NormalsHaveMeanZeroAndVarianceOne()
    {
        float[] values = new float[1 << 16];
        new PhiloxGenerator(11, gridThreads: 1024).FillNormal(values);
        double mean = values.Average(value => (double)value);
        double variance = values.Average(value => (double)value * value);
        Assert.That(mean, Is.Zero.Within(0.016), "four standard errors");
        Assert.That(variance, Is.EqualTo(1).Within(0.023), "four standard errors");
    }

    [Test]
    public void AllBitsOfTheSeedCount()
    {
        float[] a = new float[4];
        float[] b = new float[4];
        new PhiloxGenerator(5).FillNormal(a);
        new PhiloxGenerator(5 + (1ul << 32)).FillNormal(b);
        Assert.That(b, Is.Not.EqualTo(a));
    }

    [TestCase(0)]
    [TestCase(-256)]
    [TestCase(100)]
    public void AGridIsMadeOfBlocksOf256Threads(int threads) =>
        Assert.That(() => new PhiloxGenerator(0, threads), Throws.InstanceOf<ArgumentOutOfRangeException>());
}

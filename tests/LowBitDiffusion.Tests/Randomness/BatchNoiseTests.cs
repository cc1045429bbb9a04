using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Tests.Randomness;

/// <summary>The noise of a batch is the noise of its images.</summary>
public sealed class BatchNoiseTests
{
    [Test]
    public void EveryImageHasTheNoiseOfItsOwnSeed([Values] NoiseSource source, [Values(1, 12, 100)] int image)
    {
        float[] batch = new float[3 * image];
        NoiseGenerators.CreateBatch(source, [7, 8, 9]).FillNormal(batch);
        for (ulong i = 0; i < 3; i++)
        {
            float[] alone = new float[image];
            NoiseGenerators.Create(source, 7 + i).FillNormal(alone);
            Assert.That(batch.AsSpan((int)i * image, image).ToArray(), Is.EqualTo(alone), $"image {i}");
        }
    }

    [Test]
    public void ALengthThatImagesDoNotDivideIsRefused() =>
        Assert.That(() => NoiseGenerators.CreateBatch(NoiseSource.TorchCpu, [1, 2]).FillNormal(new float[5]), Throws.ArgumentException);

    [Test]
    public void ABatchHasAnImage() => Assert.That(() => NoiseGenerators.CreateBatch(NoiseSource.TorchCpu, []), Throws.ArgumentException);
}

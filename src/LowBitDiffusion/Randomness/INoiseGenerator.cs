namespace LowBitDiffusion.Randomness;

/// <summary>
/// A stream of independent samples of N(0, 1). The same seed gives the same stream on every machine; how a request is cut into calls is part of the stream
/// (torch's generators draw differently for different sizes), so two runs agree when they ask for the same sizes in the same order.
/// </summary>
public interface INoiseGenerator
{
    /// <summary>Fills the destination as one <c>torch.randn</c> of that many values would.</summary>
    /// <param name="destination">Receives the noise, any length.</param>
    void FillNormal(Span<float> destination);
}

/// <summary>Whose random numbers a seed stands for.</summary>
public enum NoiseSource
{
    /// <summary>torch's CPU generator, <see cref="TorchCpuGenerator"/>: what diffusers draws from <c>torch.Generator("cpu")</c>.</summary>
    TorchCpu,

    /// <summary>torch's CUDA generator, <see cref="PhiloxGenerator"/>.</summary>
    TorchCuda,
}

/// <summary>Makes generators from a source and a seed.</summary>
public static class NoiseGenerators
{
    /// <summary>A generator in the state torch has after <c>manual_seed(seed)</c>.</summary>
    /// <param name="source">Whose numbers.</param>
    /// <param name="seed">The seed. <see cref="NoiseSource.TorchCpu"/> uses its low 32 bits only, as torch does.</param>
    /// <exception cref="ArgumentOutOfRangeException">The source is not a value of the enumeration.</exception>
    public static INoiseGenerator Create(NoiseSource source, ulong seed) => source switch
    {
        NoiseSource.TorchCpu => new TorchCpuGenerator(seed),
        NoiseSource.TorchCuda => new PhiloxGenerator(seed),
        _ => throw new ArgumentOutOfRangeException(nameof(source), source, "not a noise source"),
    };

    /// <summary>Noise for a batch in which image <c>i</c> has a generator of its own, so it equals the image its seed gives alone.</summary>
    /// <param name="source">Whose numbers.</param>
    /// <param name="seeds">One seed per image.</param>
    public static INoiseGenerator CreateBatch(NoiseSource source, ReadOnlySpan<ulong> seeds)
    {
        var images = new INoiseGenerator[seeds.Length];
        for (int i = 0; i < images.Length; i++) images[i] = Create(source, seeds[i]);
        return new BatchNoise(images);
    }
}

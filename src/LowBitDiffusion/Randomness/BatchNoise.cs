namespace LowBitDiffusion.Randomness;

/// <summary>
/// Noise for a batch <c>[N, …]</c> in which every image draws from a generator of its own: image <c>i</c> is the same whatever the batch around it.
/// </summary>
public sealed class BatchNoise : INoiseGenerator
{
    private readonly INoiseGenerator[] _images;

    /// <summary>Creates the noise of a batch.</summary>
    /// <param name="images">One generator per image, in batch order.</param>
    /// <exception cref="ArgumentException">There is no generator.</exception>
    public BatchNoise(IReadOnlyList<INoiseGenerator> images)
    {
        if (images.Count == 0) throw new ArgumentException("a batch has at least one image, found no generator", nameof(images));
        _images = [.. images];
    }

    /// <summary>Fills a row-major batch: the n-th equal part from the n-th generator.</summary>
    /// <param name="destination"><c>[N, …]</c>; its length is a multiple of N.</param>
    /// <exception cref="ArgumentException">The length is not a multiple of the number of images.</exception>
    public void FillNormal(Span<float> destination)
    {
        (int length, int rest) = Math.DivRem(destination.Length, _images.Length);
        if (rest != 0) throw new ArgumentException($"{destination.Length} values do not divide into {_images.Length} images", nameof(destination));
        for (int i = 0; i < _images.Length; i++) _images[i].FillNormal(destination.Slice(i * length, length));
    }
}

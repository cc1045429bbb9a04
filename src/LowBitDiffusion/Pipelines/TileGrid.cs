namespace LowBitDiffusion.Pipelines;

/// <summary>
/// How a latent is decoded in parts. Tiles overlap, and where they do the images are blended linearly, so that no seam shows; what remains is that every tile's group
/// norms have statistics of their own.
/// </summary>
/// <param name="Size">Rows and columns of a tile, in the latent.</param>
/// <param name="Overlap">Rows and columns that neighbours share at least, in the latent; below <paramref name="Size"/>.</param>
public sealed record DecodeTiling(int Size, int Overlap)
{
    /// <summary>Tiles of a size with a quarter of overlap.</summary>
    public static DecodeTiling OfSize(int size) => new(size, size / 4);

    /// <summary>The smallest tiles with a quarter of overlap of which so many cover an axis of a latent.</summary>
    public static DecodeTiling Into(int tiles, int extent)
    {
        int size = Math.Max(extent / tiles, 1);
        while (OfSize(size).Count(extent) > tiles) size++;
        return OfSize(size);
    }

    /// <summary>Tiles along an axis of a latent.</summary>
    public int Count(int extent) => new TileAxis(extent, this, 1).Starts.Count;
}

/// <summary>
/// Equal tiles along one axis of a latent and their weights in the image. Tiles are spread so that the last ends with the axis:
/// <code>
/// |------ tile 0 ------|                         weight  1 ───╲
///               |------ tile 1 ------|                      ╱ ╲───╱╲
///                          |------ tile 2 ------|          ╱      ╱  ╲─── 1
/// </code>
/// </summary>
internal sealed class TileAxis
{
    private readonly float[][] _weights;

    /// <summary>Lays tiles out.</summary>
    /// <param name="extent">Rows (or columns) of the latent.</param>
    /// <param name="tiling">Tiles; null for one of the whole axis.</param>
    /// <param name="factor">Rows of the image for each of the latent.</param>
    public TileAxis(int extent, DecodeTiling? tiling, int factor)
    {
        Size = Math.Min(tiling?.Size ?? extent, extent);
        int gaps = extent == Size ? 0 : (extent - Size + Size - tiling!.Overlap - 1) / (Size - tiling.Overlap);
        Starts = [.. Enumerable.Range(0, gaps + 1).Select(i => gaps == 0 ? 0 : (int)((long)i * (extent - Size) / gaps))];
        _weights = [.. Starts.Select((_, i) => Ramp(i, factor))];
        float[] sums = new float[extent * factor];
        for (int i = 0; i < Starts.Count; i++)
        {
            for (int p = 0; p < _weights[i].Length; p++) sums[Starts[i] * factor + p] += _weights[i][p];
        }

        for (int i = 0; i < Starts.Count; i++)
        {
            for (int p = 0; p < _weights[i].Length; p++) _weights[i][p] /= sums[Starts[i] * factor + p];
        }
    }

    /// <summary>Rows of a tile, in the latent.</summary>
    public int Size { get; }

    /// <summary>First row of each tile, in the latent.</summary>
    public IReadOnlyList<int> Starts { get; }

    /// <summary>Weight of each row of a tile's image; over all tiles they sum to 1.</summary>
    public ReadOnlySpan<float> Weights(int tile) => _weights[tile];

    // Rises over what is shared with the tile before, falls over what is shared with the one after.
    private float[] Ramp(int tile, int factor)
    {
        int length = Size * factor;
        int before = tile == 0 ? 0 : (Starts[tile - 1] + Size - Starts[tile]) * factor;
        int after = tile == Starts.Count - 1 ? 0 : (Starts[tile] + Size - Starts[tile + 1]) * factor;
        float[] weights = new float[length];
        for (int p = 0; p < length; p++)
        {
            float rise = before == 0 ? 1 : Math.Min((p + 0.5f) / before, 1), fall = after == 0 ? 1 : Math.Min((length - p - 0.5f) / after, 1);
            weights[p] = Math.Min(rise, fall);
        }

        return weights;
    }
}

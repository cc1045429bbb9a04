namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>Which tile kernel.</summary>
/// <param name="Rows">Rows of a tile, 1 … 12.</param>
/// <param name="Halves">2 for all 32 channels of the panel, 1 where the last 16 do not exist: networks end in few channels.</param>
/// <param name="Nibbles">Whether two codes share a byte.</param>
internal readonly record struct VnniTileVariant(int Rows, int Halves, bool Nibbles)
{
    internal const int Count = Avx512VnniTile.MaxRows * 4;

    /// <summary>Place among all variants.</summary>
    internal int Index => ((Rows - 1) * 4) + ((Halves - 1) * 2) + (Nibbles ? 1 : 0);

    /// <summary>The variant at a place.</summary>
    internal static VnniTileVariant At(int index) => new((index / 4) + 1, (index / 2 % 2) + 1, index % 2 != 0);

    public override string ToString() => $"{Rows} × {Halves * 16}, {(Nibbles ? "two codes" : "one code")} in a byte";
}

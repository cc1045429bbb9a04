namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>
/// How the right-hand side of a matrix product is packed: panels of two vectors of columns, the last one a single vector wide where that is enough.
/// All panels before it have the same size, so panel p of a product of depth K starts at element p·2·lanes·K.
/// </summary>
internal static class Panels
{
    /// <summary>Floats in a vector.</summary>
    public static int Lanes(this SimdLevel level) => level.Resolve() switch
    {
        SimdLevel.Vector512 => 16,
        SimdLevel.Vector256 => 8,
        SimdLevel.Vector128 => 4,
        _ => 1,
    };

    /// <summary>Columns with those that fill the last vector.</summary>
    public static int PaddedColumns(int columns, int lanes) => (columns + lanes - 1) / lanes * lanes;

    /// <summary>How many panels.</summary>
    public static int Count(int columns, int lanes) => (columns + 2 * lanes - 1) / (2 * lanes);

    /// <summary>Vectors of a panel.</summary>
    public static int Vectors(int panel, int columns, int lanes) => columns - panel * 2 * lanes > lanes ? 2 : 1;
}

namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>Sizes of the panels into which the right-hand side of a matrix product is packed: two vectors wide, the last one or two.</summary>
internal static class Panels
{
    /// <summary>Floats in a vector.</summary>
    public static int Lanes(this SimdLevel level) => level.Resolve() switch
    {
        SimdLevel.Vector512 => 16,
        SimdLevel.Vector256 => 8,
        _ => 4,
    };

    /// <summary>Columns with those that fill the last vector.</summary>
    public static int PaddedColumns(int columns, int lanes) => (columns + lanes - 1) / lanes * lanes;
}

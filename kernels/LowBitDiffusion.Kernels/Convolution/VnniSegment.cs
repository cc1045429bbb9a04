using System.Runtime.InteropServices;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// What an assembled tile kernel reads of a panel's segment, made once for all tiles of the panel:
/// <code>
///   −z·W[o]   d·dw[o]   lowest[o], four times each      for the panel's 32 channels: two vectors of each
///   where the segment begins in a pixel, and how long it is
/// </code>
/// Its size is whole cache lines.
/// </summary>
[StructLayout(LayoutKind.Sequential, Size = 448)]
internal unsafe struct VnniSegment
{
    /// <summary>What the sums start at.</summary>
    public fixed int FirstSums[Avx512VnniTile.PanelWidth];

    /// <summary>What they are multiplied by.</summary>
    public fixed float Factors[Avx512VnniTile.PanelWidth];

    /// <summary>What is added to nibbles, where two codes share a byte.</summary>
    public fixed sbyte Lowest[4 * Avx512VnniTile.PanelWidth];

    /// <summary>Offset from the pixel, in bytes.</summary>
    public nint Start;

    /// <summary>Bytes of a pixel, filled up to groups of four.</summary>
    public nint PixelLength;
}

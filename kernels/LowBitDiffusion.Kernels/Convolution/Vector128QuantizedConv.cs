using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using LowBitDiffusion.Kernels.Dispatch;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// 128-bit vectors by operations that every processor has. A product of u8 and s8 fits 16 bits (255·127 = 32385), a sum of two does not, so
/// products are made in 16-bit lanes and widened before they are added.
/// <code>
///   w    = k0 k1 k2 k3 | …      four channels of four bytes
///   even = w0 · w2 · | …        odd = w1 · w3 · | …             16-bit lanes, two for each channel
///   s   += low half + high half of (even a · even w), and of (odd a · odd w)
///
///   two vectors of sums, one row after the other: a panel of weights stays in the first-level cache
/// </code>
/// </summary>
internal sealed unsafe class Vector128QuantizedConv : PanelQuantizedConv
{
    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Vector128;

    /// <inheritdoc/>
    public override string Name => "portable 128 bit, 1×8";

    /// <inheritdoc/>
    internal override PackedLayout Layout => new(PanelWidth: 8);

    /// <inheritdoc/>
    internal override int RowsPerTile => 16;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile)
    {
        for (int r = 0; r < tile.RowCount; r++) MultiplyRow(tile, r);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyRow(in SumTile tile, int r)
    {
        Vector128<int> s0 = default, s1 = default;
        Vector128<short> lowBytes = Vector128.Create((short)0x00FF);
        sbyte* codes = (sbyte*)tile.Codes;
        nint length = (nint)tile.Groups * 4;
        for (int row = 0; row < tile.KernelRows; row++)
        {
            for (int column = 0; column < tile.Columns; column++)
            {
                byte* a = tile.Rows[r] + tile.Offset + (row * tile.KernelRowStep) + (column * tile.ColumnStep);
                for (nint k = 0; k < length; k += 4, codes += 32)
                {
                    Vector128<short> input = Vector128.Create(Unsafe.ReadUnaligned<int>(a + k)).AsInt16();
                    Vector128<short> even = input & lowBytes, odd = input >>> 8;
                    Vector128<short> w0 = Vector128.Load(codes).AsInt16(), w1 = Vector128.Load(codes + 16).AsInt16();
                    s0 += Halves(even * ((w0 << 8) >> 8)) + Halves(odd * (w0 >> 8));
                    s1 += Halves(even * ((w1 << 8) >> 8)) + Halves(odd * (w1 >> 8));
                }
            }
        }

        s0.Store(tile.Sums + (r * 8));
        s1.Store(tile.Sums + (r * 8) + 4);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Halves(Vector128<short> products)
    {
        Vector128<int> pairs = products.AsInt32();
        return ((pairs << 16) >> 16) + (pairs >> 16);
    }
}

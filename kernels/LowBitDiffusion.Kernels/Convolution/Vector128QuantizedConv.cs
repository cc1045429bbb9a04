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
///   tile 2×8: 4 sums + 4 weights (even, odd) + 2 inputs, the rest for products
/// </code>
/// </summary>
internal sealed unsafe class Vector128QuantizedConv : PanelQuantizedConv
{
    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Vector128;

    /// <inheritdoc/>
    public override string Name => "portable 128 bit, 2×8";

    /// <inheritdoc/>
    internal override int PanelWidth => 8;

    /// <inheritdoc/>
    internal override int RowsPerTile => 2;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile) => DotTile<DotVector128, Vector128<byte>, Product, EvenOdd<Vector128<short>>>.Multiply(tile);

    private readonly struct Product : IDotProduct<Vector128<byte>, EvenOdd<Vector128<short>>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static EvenOdd<Vector128<short>> Codes(Vector128<byte> codes) => new((codes.AsInt16() << 8) >> 8, codes.AsInt16() >> 8);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static EvenOdd<Vector128<short>> Input(byte* four)
        {
            Vector128<short> both = Vector128.Create(*(int*)four).AsInt16();
            return new(both & Vector128.Create((short)0x00FF), both >>> 8);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector128<byte> Add(Vector128<byte> sum, EvenOdd<Vector128<short>> input, EvenOdd<Vector128<short>> codes) =>
            (sum.AsInt32() + Halves(input.Even * codes.Even) + Halves(input.Odd * codes.Odd)).AsByte();

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector128<int> Halves(Vector128<short> products)
        {
            Vector128<int> pairs = products.AsInt32();
            return ((pairs << 16) >> 16) + (pairs >> 16);
        }
    }
}

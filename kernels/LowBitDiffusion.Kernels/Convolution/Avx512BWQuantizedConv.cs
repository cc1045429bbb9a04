using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Dispatch;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// 512 bits without dot products: as <see cref="Avx2QuantizedConv"/> with twice the lanes and twice the registers.
/// <code>
///   wide    s += madd(even a, even w) + madd(odd a, odd w)
///   small   s += madd(maddubs(a, w), 1)                      |w| ≤ 64
///
///   tile 8×32: 16 sums + 4 weights (even, odd) + 2 inputs + products
/// </code>
/// </summary>
internal sealed unsafe class Avx512BWQuantizedConv : PanelQuantizedConv
{
    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Avx512BW;

    /// <inheritdoc/>
    public override string Name => "vpmaddwd / vpmaddubsw zmm, 8×32";

    /// <inheritdoc/>
    internal override int PanelWidth => 32;

    /// <inheritdoc/>
    internal override int RowsPerTile => 8;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile)
    {
        if (tile.MaxMagnitude <= SmallCode) DotTile<DotVector512, Vector512<byte>, Small, Vector512<byte>>.Multiply(tile);
        else DotTile<DotVector512, Vector512<byte>, Wide, EvenOdd<Vector512<short>>>.Multiply(tile);
    }

    private readonly struct Small : IDotProduct<Vector512<byte>, Vector512<byte>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Codes(Vector512<byte> codes) => codes;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Input(byte* four) => DotVector512.Create(*(int*)four).AsByte();

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Add(Vector512<byte> sum, Vector512<byte> input, Vector512<byte> codes) =>
            Avx512F.Add(
                sum.AsInt32(), Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(input, codes.AsSByte()), DotVector512.Create(0x00010001).AsInt16())).AsByte();
    }

    private readonly struct Wide : IDotProduct<Vector512<byte>, EvenOdd<Vector512<short>>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static EvenOdd<Vector512<short>> Codes(Vector512<byte> codes) =>
            new(Avx512BW.ShiftRightArithmetic(Avx512BW.ShiftLeftLogical(codes.AsInt16(), 8), 8), Avx512BW.ShiftRightArithmetic(codes.AsInt16(), 8));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static EvenOdd<Vector512<short>> Input(byte* four)
        {
            Vector512<short> both = DotVector512.Create(*(int*)four).AsInt16();
            return new(Avx512F.And(both, DotVector512.Create(0x00FF00FF).AsInt16()), Avx512BW.ShiftRightLogical(both, 8));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<byte> Add(Vector512<byte> sum, EvenOdd<Vector512<short>> input, EvenOdd<Vector512<short>> codes) =>
            Avx512F.Add(Avx512F.Add(sum.AsInt32(), Avx512BW.MultiplyAddAdjacent(input.Even, codes.Even)), Avx512BW.MultiplyAddAdjacent(input.Odd, codes.Odd)).AsByte();
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Dispatch;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// 256 bits without dot products. <c>vpmaddubsw</c> saturates at 16 bits, so codes beyond 64 are multiplied as 16-bit numbers, the even and the odd
/// bytes of K apart; both ways are exact.
/// <code>
///   wide    a = k0 k1 k2 k3 →  even: k0 · k2 ·  odd: k1 · k3 ·        s += madd(even a, even w) + madd(odd a, odd w)      4 instructions
///   small   |w| ≤ 64                                                  s += madd(maddubs(a, w), 1)                         3 instructions
///
///   tile 4×16 (<see cref="DotTile{TSimd, TVector, TProduct, TOperand}"/>): 8 sums + 4 weights (even, odd) + 2 inputs + 2 products = 16 registers
/// </code>
/// Splitting the input into 7 + 1 bits for <c>vpmaddubsw</c> would need 6 instructions.
/// </summary>
internal sealed unsafe class Avx2QuantizedConv : PanelQuantizedConv
{
    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Avx2;

    /// <inheritdoc/>
    public override string Name => "vpmaddwd / vpmaddubsw ymm, 4×16";

    /// <inheritdoc/>
    internal override int PanelWidth => 16;

    /// <inheritdoc/>
    internal override int RowsPerTile => 4;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile)
    {
        if (tile.MaxMagnitude <= SmallCode) DotTile<DotVector256, Vector256<byte>, Small, Vector256<byte>>.Multiply(tile);
        else DotTile<DotVector256, Vector256<byte>, Wide, EvenOdd<Vector256<short>>>.Multiply(tile);
    }

    private readonly struct Small : IDotProduct<Vector256<byte>, Vector256<byte>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Codes(Vector256<byte> codes) => codes;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Input(byte* four) => Vector256.Create(*(int*)four).AsByte();

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Add(Vector256<byte> sum, Vector256<byte> input, Vector256<byte> codes) =>
            Avx2.Add(sum.AsInt32(), Avx2.MultiplyAddAdjacent(Avx2.MultiplyAddAdjacent(input, codes.AsSByte()), Vector256.Create((short)1))).AsByte();
    }

    private readonly struct Wide : IDotProduct<Vector256<byte>, EvenOdd<Vector256<short>>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static EvenOdd<Vector256<short>> Codes(Vector256<byte> codes) =>
            new(Avx2.ShiftRightArithmetic(Avx2.ShiftLeftLogical(codes.AsInt16(), 8), 8), Avx2.ShiftRightArithmetic(codes.AsInt16(), 8));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static EvenOdd<Vector256<short>> Input(byte* four)
        {
            Vector256<short> both = Vector256.Create(*(int*)four).AsInt16();
            return new(Avx2.And(both, Vector256.Create((short)0x00FF)), Avx2.ShiftRightLogical(both, 8));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Add(Vector256<byte> sum, EvenOdd<Vector256<short>> input, EvenOdd<Vector256<short>> codes) =>
            Avx2.Add(Avx2.Add(sum.AsInt32(), Avx2.MultiplyAddAdjacent(input.Even, codes.Even)), Avx2.MultiplyAddAdjacent(input.Odd, codes.Odd)).AsByte();
    }
}

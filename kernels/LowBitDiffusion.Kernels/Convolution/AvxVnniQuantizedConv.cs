using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Dispatch;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// 256-bit <c>vpdpbusd</c>: four products of u8 × s8 added to an int32 lane at once, exact. Tile 6×16
/// (<see cref="DotTile{TSimd, TVector, TProduct, TOperand}"/>): 12 sums + 2 weights + 1 input = 15 of 16 registers.
/// </summary>
internal sealed unsafe class AvxVnniQuantizedConv : PanelQuantizedConv
{
    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.AvxVnni;

    /// <inheritdoc/>
    public override string Name => "vpdpbusd ymm, 6×16";

    /// <inheritdoc/>
    internal override int PanelWidth => 16;

    /// <inheritdoc/>
    internal override int RowsPerTile => 6;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile) => DotTile<DotVector256, Vector256<byte>, Product, Vector256<byte>>.Multiply(tile);

    private readonly struct Product : IDotProduct<Vector256<byte>, Vector256<byte>>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Codes(Vector256<byte> codes) => codes;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Input(byte* four) => Vector256.Create(*(int*)four).AsByte();

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector256<byte> Add(Vector256<byte> sum, Vector256<byte> input, Vector256<byte> codes) =>
            AvxVnni.MultiplyWideningAndAdd(sum.AsInt32(), input, codes.AsSByte()).AsByte();
    }
}

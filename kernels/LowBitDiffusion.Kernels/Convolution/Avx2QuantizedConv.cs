using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// 256 bits without dot products. <c>vpmaddubsw</c> saturates at 16 bits, so codes beyond 64 are multiplied as 16-bit numbers, the even and the odd
/// bytes of K apart; both ways are exact.
/// <code>
///   wide    a = k0 k1 k2 k3 →  even: k0 · k2 ·  odd: k1 · k3 ·        s += madd(even a, even w) + madd(odd a, odd w)      4 instructions
///   small   |w| ≤ 64                                                  s += madd(maddubs(a, w), 1)                         3 instructions
///
///   tile 4×16: 8 sums + 4 weights (even, odd) + 2 inputs + 2 products = 16 registers
/// </code>
/// Splitting the input into 7 + 1 bits for <c>vpmaddubsw</c> would need 6 instructions.
/// </summary>
internal sealed unsafe class Avx2QuantizedConv : PanelQuantizedConv
{
    /// <summary>Codes up to this magnitude fit two products into 16 bits: 255·64·2 ≤ 32767.</summary>
    private const int SmallCode = 64;

    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Avx2;

    /// <inheritdoc/>
    public override string Name => "vpmaddwd / vpmaddubsw ymm, 4×16";

    /// <inheritdoc/>
    internal override PackedLayout Layout => new(PanelWidth: 16);

    /// <inheritdoc/>
    internal override int RowsPerTile => 4;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile)
    {
        bool small = tile.MaxMagnitude <= SmallCode;
        switch (tile.RowCount)
        {
            case 1: Multiply<Size1>(tile, small); break;
            case 2: Multiply<Size2>(tile, small); break;
            case 3: Multiply<Size3>(tile, small); break;
            default: Multiply<Size4>(tile, small); break;
        }
    }

    private static void Multiply<TRows>(in SumTile tile, bool small) where TRows : struct, ISize
    {
        if (small)
        {
            MultiplySmall<TRows>(tile);
        }
        else
        {
            MultiplyWide<TRows>(tile);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyWide<TRows>(in SumTile tile) where TRows : struct, ISize
    {
        Vector256<int> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default;
        sbyte* codes = (sbyte*)tile.Codes;
        nint length = (nint)tile.Groups * 4;
        for (int row = 0; row < tile.KernelRows; row++)
        {
            for (int column = 0; column < tile.Columns; column++)
            {
                nint offset = tile.Offset + (row * tile.KernelRowStep) + (column * tile.ColumnStep);
                byte* a0 = tile.Rows[0] + offset;
                byte* a1 = TRows.Value > 1 ? tile.Rows[1] + offset : null;
                byte* a2 = TRows.Value > 2 ? tile.Rows[2] + offset : null;
                byte* a3 = TRows.Value > 3 ? tile.Rows[3] + offset : null;
                for (nint k = 0; k < length; k += 4, codes += 64)
                {
                    Vector256<short> w0 = Avx.LoadVector256(codes).AsInt16(), w1 = Avx.LoadVector256(codes + 32).AsInt16();
                    Vector256<short> even0 = Even(w0), odd0 = Odd(w0), even1 = Even(w1), odd1 = Odd(w1);
                    AddWide(a0 + k, even0, odd0, even1, odd1, ref s00, ref s01);
                    if (TRows.Value > 1) AddWide(a1 + k, even0, odd0, even1, odd1, ref s10, ref s11);
                    if (TRows.Value > 2) AddWide(a2 + k, even0, odd0, even1, odd1, ref s20, ref s21);
                    if (TRows.Value > 3) AddWide(a3 + k, even0, odd0, even1, odd1, ref s30, ref s31);
                }
            }
        }

        Store(tile.Sums, s00, s01);
        if (TRows.Value > 1) Store(tile.Sums + 16, s10, s11);
        if (TRows.Value > 2) Store(tile.Sums + 32, s20, s21);
        if (TRows.Value > 3) Store(tile.Sums + 48, s30, s31);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplySmall<TRows>(in SumTile tile) where TRows : struct, ISize
    {
        Vector256<int> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default;
        sbyte* codes = (sbyte*)tile.Codes;
        nint length = (nint)tile.Groups * 4;
        for (int row = 0; row < tile.KernelRows; row++)
        {
            for (int column = 0; column < tile.Columns; column++)
            {
                nint offset = tile.Offset + (row * tile.KernelRowStep) + (column * tile.ColumnStep);
                byte* a0 = tile.Rows[0] + offset;
                byte* a1 = TRows.Value > 1 ? tile.Rows[1] + offset : null;
                byte* a2 = TRows.Value > 2 ? tile.Rows[2] + offset : null;
                byte* a3 = TRows.Value > 3 ? tile.Rows[3] + offset : null;
                for (nint k = 0; k < length; k += 4, codes += 64)
                {
                    Vector256<sbyte> w0 = Avx.LoadVector256(codes), w1 = Avx.LoadVector256(codes + 32);
                    AddSmall(a0 + k, w0, w1, ref s00, ref s01);
                    if (TRows.Value > 1) AddSmall(a1 + k, w0, w1, ref s10, ref s11);
                    if (TRows.Value > 2) AddSmall(a2 + k, w0, w1, ref s20, ref s21);
                    if (TRows.Value > 3) AddSmall(a3 + k, w0, w1, ref s30, ref s31);
                }
            }
        }

        Store(tile.Sums, s00, s01);
        if (TRows.Value > 1) Store(tile.Sums + 16, s10, s11);
        if (TRows.Value > 2) Store(tile.Sums + 32, s20, s21);
        if (TRows.Value > 3) Store(tile.Sums + 48, s30, s31);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<short> Even(Vector256<short> codes) => Avx2.ShiftRightArithmetic(Avx2.ShiftLeftLogical(codes, 8), 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<short> Odd(Vector256<short> codes) => Avx2.ShiftRightArithmetic(codes, 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddWide(
        byte* input, Vector256<short> even0, Vector256<short> odd0, Vector256<short> even1, Vector256<short> odd1, ref Vector256<int> s0, ref Vector256<int> s1)
    {
        Vector256<short> a = Vector256.Create(*(int*)input).AsInt16();
        Vector256<short> even = Avx2.And(a, Vector256.Create(0x00FF00FF).AsInt16()), odd = Avx2.ShiftRightLogical(a, 8);
        s0 = Avx2.Add(Avx2.Add(s0, Avx2.MultiplyAddAdjacent(even, even0)), Avx2.MultiplyAddAdjacent(odd, odd0));
        s1 = Avx2.Add(Avx2.Add(s1, Avx2.MultiplyAddAdjacent(even, even1)), Avx2.MultiplyAddAdjacent(odd, odd1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddSmall(byte* input, Vector256<sbyte> w0, Vector256<sbyte> w1, ref Vector256<int> s0, ref Vector256<int> s1)
    {
        Vector256<byte> a = Vector256.Create(*(int*)input).AsByte();
        Vector256<short> ones = Vector256.Create(0x00010001).AsInt16();
        s0 = Avx2.Add(s0, Avx2.MultiplyAddAdjacent(Avx2.MultiplyAddAdjacent(a, w0), ones));
        s1 = Avx2.Add(s1, Avx2.MultiplyAddAdjacent(Avx2.MultiplyAddAdjacent(a, w1), ones));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(int* sums, Vector256<int> s0, Vector256<int> s1)
    {
        Avx.Store(sums, s0);
        Avx.Store(sums + 8, s1);
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;

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
    /// <summary>Codes up to this magnitude fit two products into 16 bits: 255·64·2 ≤ 32767.</summary>
    private const int SmallCode = 64;

    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Avx512BW;

    /// <inheritdoc/>
    public override string Name => "vpmaddwd / vpmaddubsw zmm, 8×32";

    /// <inheritdoc/>
    internal override PackedLayout Layout => new(PanelWidth: 32);

    /// <inheritdoc/>
    internal override int RowsPerTile => 8;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile)
    {
        bool small = tile.MaxMagnitude <= SmallCode;
        switch (tile.RowCount)
        {
            case 1: Multiply<Size1>(tile, small); break;
            case 2: Multiply<Size2>(tile, small); break;
            case 3: Multiply<Size3>(tile, small); break;
            case 4: Multiply<Size4>(tile, small); break;
            case 5: Multiply<Size5>(tile, small); break;
            case 6: Multiply<Size6>(tile, small); break;
            case 7: Multiply<Size7>(tile, small); break;
            default: Multiply<Size8>(tile, small); break;
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
        Vector512<int> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default;
        Vector512<int> s40 = default, s41 = default, s50 = default, s51 = default, s60 = default, s61 = default, s70 = default, s71 = default;
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
                byte* a4 = TRows.Value > 4 ? tile.Rows[4] + offset : null;
                byte* a5 = TRows.Value > 5 ? tile.Rows[5] + offset : null;
                byte* a6 = TRows.Value > 6 ? tile.Rows[6] + offset : null;
                byte* a7 = TRows.Value > 7 ? tile.Rows[7] + offset : null;
                for (nint k = 0; k < length; k += 4, codes += 128)
                {
                    Vector512<short> w0 = Avx512BW.LoadVector512(codes).AsInt16(), w1 = Avx512BW.LoadVector512(codes + 64).AsInt16();
                    Vector512<short> even0 = Even(w0), odd0 = Odd(w0), even1 = Even(w1), odd1 = Odd(w1);
                    AddWide(a0 + k, even0, odd0, even1, odd1, ref s00, ref s01);
                    if (TRows.Value > 1) AddWide(a1 + k, even0, odd0, even1, odd1, ref s10, ref s11);
                    if (TRows.Value > 2) AddWide(a2 + k, even0, odd0, even1, odd1, ref s20, ref s21);
                    if (TRows.Value > 3) AddWide(a3 + k, even0, odd0, even1, odd1, ref s30, ref s31);
                    if (TRows.Value > 4) AddWide(a4 + k, even0, odd0, even1, odd1, ref s40, ref s41);
                    if (TRows.Value > 5) AddWide(a5 + k, even0, odd0, even1, odd1, ref s50, ref s51);
                    if (TRows.Value > 6) AddWide(a6 + k, even0, odd0, even1, odd1, ref s60, ref s61);
                    if (TRows.Value > 7) AddWide(a7 + k, even0, odd0, even1, odd1, ref s70, ref s71);
                }
            }
        }

        Store(tile.Sums, s00, s01);
        if (TRows.Value > 1) Store(tile.Sums + 32, s10, s11);
        if (TRows.Value > 2) Store(tile.Sums + 64, s20, s21);
        if (TRows.Value > 3) Store(tile.Sums + 96, s30, s31);
        if (TRows.Value > 4) Store(tile.Sums + 128, s40, s41);
        if (TRows.Value > 5) Store(tile.Sums + 160, s50, s51);
        if (TRows.Value > 6) Store(tile.Sums + 192, s60, s61);
        if (TRows.Value > 7) Store(tile.Sums + 224, s70, s71);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplySmall<TRows>(in SumTile tile) where TRows : struct, ISize
    {
        Vector512<int> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default;
        Vector512<int> s40 = default, s41 = default, s50 = default, s51 = default, s60 = default, s61 = default, s70 = default, s71 = default;
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
                byte* a4 = TRows.Value > 4 ? tile.Rows[4] + offset : null;
                byte* a5 = TRows.Value > 5 ? tile.Rows[5] + offset : null;
                byte* a6 = TRows.Value > 6 ? tile.Rows[6] + offset : null;
                byte* a7 = TRows.Value > 7 ? tile.Rows[7] + offset : null;
                for (nint k = 0; k < length; k += 4, codes += 128)
                {
                    Vector512<sbyte> w0 = Avx512BW.LoadVector512(codes), w1 = Avx512BW.LoadVector512(codes + 64);
                    AddSmall(a0 + k, w0, w1, ref s00, ref s01);
                    if (TRows.Value > 1) AddSmall(a1 + k, w0, w1, ref s10, ref s11);
                    if (TRows.Value > 2) AddSmall(a2 + k, w0, w1, ref s20, ref s21);
                    if (TRows.Value > 3) AddSmall(a3 + k, w0, w1, ref s30, ref s31);
                    if (TRows.Value > 4) AddSmall(a4 + k, w0, w1, ref s40, ref s41);
                    if (TRows.Value > 5) AddSmall(a5 + k, w0, w1, ref s50, ref s51);
                    if (TRows.Value > 6) AddSmall(a6 + k, w0, w1, ref s60, ref s61);
                    if (TRows.Value > 7) AddSmall(a7 + k, w0, w1, ref s70, ref s71);
                }
            }
        }

        Store(tile.Sums, s00, s01);
        if (TRows.Value > 1) Store(tile.Sums + 32, s10, s11);
        if (TRows.Value > 2) Store(tile.Sums + 64, s20, s21);
        if (TRows.Value > 3) Store(tile.Sums + 96, s30, s31);
        if (TRows.Value > 4) Store(tile.Sums + 128, s40, s41);
        if (TRows.Value > 5) Store(tile.Sums + 160, s50, s51);
        if (TRows.Value > 6) Store(tile.Sums + 192, s60, s61);
        if (TRows.Value > 7) Store(tile.Sums + 224, s70, s71);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Even(Vector512<short> codes) => Avx512BW.ShiftRightArithmetic(Avx512BW.ShiftLeftLogical(codes, 8), 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Odd(Vector512<short> codes) => Avx512BW.ShiftRightArithmetic(codes, 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddWide(
        byte* input, Vector512<short> even0, Vector512<short> odd0, Vector512<short> even1, Vector512<short> odd1, ref Vector512<int> s0, ref Vector512<int> s1)
    {
        Vector512<short> a = Avx512F.BroadcastScalarToVector512(Vector128.CreateScalarUnsafe(*(int*)input)).AsInt16();
        Vector512<short> even = Avx512F.And(a, Avx512F.BroadcastScalarToVector512(Vector128.CreateScalarUnsafe(0x00FF00FF)).AsInt16()), odd = Avx512BW.ShiftRightLogical(a, 8);
        s0 = Avx512F.Add(Avx512F.Add(s0, Avx512BW.MultiplyAddAdjacent(even, even0)), Avx512BW.MultiplyAddAdjacent(odd, odd0));
        s1 = Avx512F.Add(Avx512F.Add(s1, Avx512BW.MultiplyAddAdjacent(even, even1)), Avx512BW.MultiplyAddAdjacent(odd, odd1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddSmall(byte* input, Vector512<sbyte> w0, Vector512<sbyte> w1, ref Vector512<int> s0, ref Vector512<int> s1)
    {
        Vector512<byte> a = Avx512F.BroadcastScalarToVector512(Vector128.CreateScalarUnsafe(*(int*)input)).AsByte();
        Vector512<short> ones = Avx512F.BroadcastScalarToVector512(Vector128.CreateScalarUnsafe(0x00010001)).AsInt16();
        s0 = Avx512F.Add(s0, Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(a, w0), ones));
        s1 = Avx512F.Add(s1, Avx512BW.MultiplyAddAdjacent(Avx512BW.MultiplyAddAdjacent(a, w1), ones));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(int* sums, Vector512<int> s0, Vector512<int> s1)
    {
        Avx512F.Store(sums, s0);
        Avx512F.Store(sums + 16, s1);
    }
}

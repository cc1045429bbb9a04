using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// 256-bit <c>vpdpbusd</c>: four products of u8 × s8 added to an int32 lane at once, exact.
/// <code>
///            w0: channels 0–7   w1: channels 8–15      two loads of 32 bytes: [8 channels][4 of K]
///   a row 0    s00                s01                  a: four bytes of the row's input in every lane
///   …          …                  …                    12 sums + 2 weights + 1 input = 15 of 16 registers
///   a row 5    s50                s51
///
///   nibbles: one load of [8 bytes-of-two-channels][4], w0 from the low halves, w1 from the high ones, both as 16·w: see <see cref="Avx512VnniTile"/>
/// </code>
/// </summary>
internal sealed unsafe class AvxVnniQuantizedConv : PanelQuantizedConv
{
    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.AvxVnni;

    /// <inheritdoc/>
    public override string Name => "vpdpbusd ymm, 6×16";

    /// <inheritdoc/>
    internal override PackedLayout Layout => new(PanelWidth: 16, Nibbles: true);

    /// <inheritdoc/>
    internal override int RowsPerTile => 6;

    /// <inheritdoc/>
    private protected override void Multiply(in SumTile tile)
    {
        if (tile.Nibbles)
        {
            Multiply<Nibbles>(tile);
        }
        else
        {
            Multiply<Bytes>(tile);
        }
    }

    private static void Multiply<TCodes>(in SumTile tile) where TCodes : struct, ICodes
    {
        switch (tile.RowCount)
        {
            case 1: Multiply<TCodes, Size1>(tile); break;
            case 2: Multiply<TCodes, Size2>(tile); break;
            case 3: Multiply<TCodes, Size3>(tile); break;
            case 4: Multiply<TCodes, Size4>(tile); break;
            case 5: Multiply<TCodes, Size5>(tile); break;
            default: Multiply<TCodes, Size6>(tile); break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply<TCodes, TRows>(in SumTile tile)
        where TCodes : struct, ICodes
        where TRows : struct, ISize
    {
        Vector256<int> s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default;
        Vector256<int> s30 = default, s31 = default, s40 = default, s41 = default, s50 = default, s51 = default;
        byte* codes = tile.Codes;
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
                for (nint k = 0; k < length; k += 4, codes += TCodes.GroupBytes)
                {
                    (Vector256<sbyte> w0, Vector256<sbyte> w1) = TCodes.Load(codes);
                    Add(a0 + k, w0, w1, ref s00, ref s01);
                    if (TRows.Value > 1) Add(a1 + k, w0, w1, ref s10, ref s11);
                    if (TRows.Value > 2) Add(a2 + k, w0, w1, ref s20, ref s21);
                    if (TRows.Value > 3) Add(a3 + k, w0, w1, ref s30, ref s31);
                    if (TRows.Value > 4) Add(a4 + k, w0, w1, ref s40, ref s41);
                    if (TRows.Value > 5) Add(a5 + k, w0, w1, ref s50, ref s51);
                }
            }
        }

        Store<TCodes>(tile.Sums, s00, s01);
        if (TRows.Value > 1) Store<TCodes>(tile.Sums + 16, s10, s11);
        if (TRows.Value > 2) Store<TCodes>(tile.Sums + 32, s20, s21);
        if (TRows.Value > 3) Store<TCodes>(tile.Sums + 48, s30, s31);
        if (TRows.Value > 4) Store<TCodes>(tile.Sums + 64, s40, s41);
        if (TRows.Value > 5) Store<TCodes>(tile.Sums + 80, s50, s51);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(byte* input, Vector256<sbyte> w0, Vector256<sbyte> w1, ref Vector256<int> s0, ref Vector256<int> s1)
    {
        Vector256<byte> a = Vector256.Create(*(int*)input).AsByte();
        s0 = AvxVnni.MultiplyWideningAndAdd(s0, a, w0);
        s1 = AvxVnni.MultiplyWideningAndAdd(s1, a, w1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TCodes>(int* sums, Vector256<int> s0, Vector256<int> s1) where TCodes : struct, ICodes
    {
        (s0 >> TCodes.Shift).Store(sums);
        (s1 >> TCodes.Shift).Store(sums + 8);
    }

    /// <summary>How codes are stored.</summary>
    private interface ICodes
    {
        /// <summary>Bytes of four of K times 16 channels.</summary>
        static abstract int GroupBytes { get; }

        /// <summary>Sums come out too large by this power of two.</summary>
        static abstract int Shift { get; }

        /// <summary>The codes of channels 0–7 and 8–15.</summary>
        static abstract (Vector256<sbyte> Low, Vector256<sbyte> High) Load(byte* codes);
    }

    private readonly struct Bytes : ICodes
    {
        public static int GroupBytes => 64;

        public static int Shift => 0;

        public static (Vector256<sbyte> Low, Vector256<sbyte> High) Load(byte* codes) =>
            (Vector256.Load((sbyte*)codes), Vector256.Load((sbyte*)codes + 32));
    }

    private readonly struct Nibbles : ICodes
    {
        public static int GroupBytes => 32;

        public static int Shift => 4;

        public static (Vector256<sbyte> Low, Vector256<sbyte> High) Load(byte* codes)
        {
            Vector256<byte> highHalves = Vector256.Create((byte)0xF0), both = Vector256.Load(codes);
            return (((both.AsInt32() << 4).AsByte() & highHalves).AsSByte(), (both & highHalves).AsSByte());
        }
    }
}

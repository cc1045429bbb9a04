using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>Operations on the bytes and sums of a vector of some width.</summary>
internal unsafe interface IDotVector<TVector> where TVector : struct
{
    /// <summary>Bytes.</summary>
    static abstract int Bytes { get; }

    /// <summary>Unaligned load.</summary>
    static abstract TVector Load(byte* source);

    /// <summary>Unaligned store.</summary>
    static abstract void Store(int* target, TVector value);

    /// <summary>The low half of every byte.</summary>
    static abstract TVector LowNibbles(TVector value);

    /// <summary>The high half of every byte.</summary>
    static abstract TVector HighNibbles(TVector value);

    /// <summary>x + y, byte by byte.</summary>
    static abstract TVector AddBytes(TVector x, TVector y);

    /// <summary>Each of the bytes four times: one for each lane of 32 bits.</summary>
    static abstract TVector FourTimes(sbyte* bytes);
}

/// <summary>How some instructions multiply u8 by s8 and add four neighbours to a lane of 32 bits, exactly.</summary>
/// <typeparam name="TVector">Sums, and codes as they are loaded.</typeparam>
/// <typeparam name="TOperand">Codes and inputs as the instructions want them.</typeparam>
internal unsafe interface IDotProduct<TVector, TOperand> where TVector : struct where TOperand : struct
{
    /// <summary>Weight codes, once for all rows.</summary>
    static abstract TOperand Codes(TVector codes);

    /// <summary>Four bytes of a row's input, for all lanes.</summary>
    static abstract TOperand Input(byte* four);

    /// <summary>sum + input·codes.</summary>
    static abstract TVector Add(TVector sum, TOperand input, TOperand codes);
}

/// <summary>Two vectors of 16-bit numbers: the even and the odd bytes of K.</summary>
internal readonly struct EvenOdd<TVector>(TVector even, TVector odd) where TVector : struct
{
    public readonly TVector Even = even, Odd = odd;
}

/// <summary>
/// The tile that all kernels in C# share: up to 8 rows × two vectors of output channels, sums in registers.
/// <code>
///                low: first half of the panel   high: second half     two loads: [channels][4 of K]
///   input row 0       s00                          s01
///   …                 …                            …                  input: four bytes of the row in every lane
///   input row 7       s70                          s71
///
///   nibbles: one load v = 16·u[c + P/2] + u[c];   low = (v and 0F) + lowest[c]      high = (v shr 4) + lowest[c + P/2]
/// </code>
/// </summary>
internal static unsafe class DotTile<TSimd, TVector, TProduct, TOperand>
    where TSimd : struct, IDotVector<TVector> where TVector : struct where TProduct : struct, IDotProduct<TVector, TOperand> where TOperand : struct
{
    /// <summary>Computes the sums of a tile.</summary>
    internal static void Multiply(in SumTile tile)
    {
        if (tile.Lowest == null) MultiplyRows<Size1>(tile);
        else MultiplyRows<Size2>(tile);
    }

    private static void MultiplyRows<TCodesPerByte>(in SumTile tile) where TCodesPerByte : struct, ISize
    {
        switch (tile.RowCount)
        {
            case 1: Multiply<TCodesPerByte, Size1>(tile); break;
            case 2: Multiply<TCodesPerByte, Size2>(tile); break;
            case 3: Multiply<TCodesPerByte, Size3>(tile); break;
            case 4: Multiply<TCodesPerByte, Size4>(tile); break;
            case 5: Multiply<TCodesPerByte, Size5>(tile); break;
            case 6: Multiply<TCodesPerByte, Size6>(tile); break;
            case 7: Multiply<TCodesPerByte, Size7>(tile); break;
            default: Multiply<TCodesPerByte, Size8>(tile); break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply<TCodesPerByte, TRows>(in SumTile tile) where TCodesPerByte : struct, ISize where TRows : struct, ISize
    {
        TVector s00 = default, s01 = default, s10 = default, s11 = default, s20 = default, s21 = default, s30 = default, s31 = default;
        TVector s40 = default, s41 = default, s50 = default, s51 = default, s60 = default, s61 = default, s70 = default, s71 = default;
        TVector lowestLow = default, lowestHigh = default;
        if (TCodesPerByte.Value == 2) (lowestLow, lowestHigh) = (TSimd.FourTimes(tile.Lowest), TSimd.FourTimes(tile.Lowest + (TSimd.Bytes / 4)));
        byte* codes = tile.Codes;
        for (int run = 0; run < tile.RunCount; run++)
        {
            nint offset = tile.Offset + tile.Runs[run].Offset, length = tile.Runs[run].Pixels * tile.Groups * 4;
            byte* a0 = tile.Rows[0] + offset;
            byte* a1 = TRows.Value > 1 ? tile.Rows[1] + offset : null;
            byte* a2 = TRows.Value > 2 ? tile.Rows[2] + offset : null;
            byte* a3 = TRows.Value > 3 ? tile.Rows[3] + offset : null;
            byte* a4 = TRows.Value > 4 ? tile.Rows[4] + offset : null;
            byte* a5 = TRows.Value > 5 ? tile.Rows[5] + offset : null;
            byte* a6 = TRows.Value > 6 ? tile.Rows[6] + offset : null;
            byte* a7 = TRows.Value > 7 ? tile.Rows[7] + offset : null;
            for (nint k = 0; k < length; k += 4, codes += 2 * TSimd.Bytes / TCodesPerByte.Value)
            {
                TVector low = TSimd.Load(codes), high;
                if (TCodesPerByte.Value == 2)
                {
                    high = TSimd.AddBytes(TSimd.HighNibbles(low), lowestHigh);
                    low = TSimd.AddBytes(TSimd.LowNibbles(low), lowestLow);
                }
                else
                {
                    high = TSimd.Load(codes + TSimd.Bytes);
                }

                TOperand w0 = TProduct.Codes(low), w1 = TProduct.Codes(high);
                Add(a0 + k, w0, w1, ref s00, ref s01);
                if (TRows.Value > 1) Add(a1 + k, w0, w1, ref s10, ref s11);
                if (TRows.Value > 2) Add(a2 + k, w0, w1, ref s20, ref s21);
                if (TRows.Value > 3) Add(a3 + k, w0, w1, ref s30, ref s31);
                if (TRows.Value > 4) Add(a4 + k, w0, w1, ref s40, ref s41);
                if (TRows.Value > 5) Add(a5 + k, w0, w1, ref s50, ref s51);
                if (TRows.Value > 6) Add(a6 + k, w0, w1, ref s60, ref s61);
                if (TRows.Value > 7) Add(a7 + k, w0, w1, ref s70, ref s71);
            }
        }

        Store(tile.Sums, 0, s00, s01);
        if (TRows.Value > 1) Store(tile.Sums, 1, s10, s11);
        if (TRows.Value > 2) Store(tile.Sums, 2, s20, s21);
        if (TRows.Value > 3) Store(tile.Sums, 3, s30, s31);
        if (TRows.Value > 4) Store(tile.Sums, 4, s40, s41);
        if (TRows.Value > 5) Store(tile.Sums, 5, s50, s51);
        if (TRows.Value > 6) Store(tile.Sums, 6, s60, s61);
        if (TRows.Value > 7) Store(tile.Sums, 7, s70, s71);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(byte* four, TOperand w0, TOperand w1, ref TVector s0, ref TVector s1)
    {
        TOperand input = TProduct.Input(four);
        s0 = TProduct.Add(s0, input, w0);
        s1 = TProduct.Add(s1, input, w1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(int* sums, int row, TVector s0, TVector s1)
    {
        int lanes = TSimd.Bytes / sizeof(int);
        TSimd.Store(sums + (2 * row * lanes), s0);
        TSimd.Store(sums + (((2 * row) + 1) * lanes), s1);
    }
}

namespace LowBitDiffusion.Formats;

/// <summary>
/// Codes of 2 to 8 bits in bytes, least significant bit first along a row; every row starts at a byte, what is left of its last byte is 0.
/// <code>
/// 4 bits   byte 0            byte 1                 3 bits   byte 0           byte 1            byte 2
///          ┌───────┬───────┐ ┌───────┬───────┐               ┌──┬─────┬─────┐ ┌─┬─────┬─────┬─┐ ┌─────┬─────┬──┐
///    bit 7 │ q1    │ q0    │ │ q3    │ q2    │         bit 7 │q2│ q1  │ q0  │ │5│ q4  │ q3  │2│ │ q7  │ q6  │ 5│
///          └───────┴───────┘ └───────┴───────┘               └──┴─────┴─────┘ └─┴─────┴─────┴─┘ └─────┴─────┴──┘
/// </code>
/// </summary>
public static class BitPacking
{
    /// <summary>Bytes of a row: ⌈depth·bits / 8⌉.</summary>
    public static int RowBytes(int depth, int bits) => checked((int)(((long)depth * bits + 7) / 8));

    /// <summary>Packs codes.</summary>
    /// <param name="codes"><c>[rows, depth]</c>, each below 2^bits.</param>
    /// <param name="depth">Codes of a row.</param>
    /// <param name="bits">2 to 8.</param>
    /// <returns><c>[rows, ⌈depth·bits / 8⌉]</c>.</returns>
    /// <exception cref="ArgumentException">A code needs more bits, or the codes are no whole rows.</exception>
    public static byte[] Pack(ReadOnlySpan<byte> codes, int depth, int bits)
    {
        int rows = Rows(codes.Length, depth, bits, nameof(codes));
        int rowBytes = RowBytes(depth, bits);
        byte[] packed = new byte[checked(rows * rowBytes)];
        for (int row = 0; row < rows; row++)
        {
            uint pending = 0;
            int filled = 0, at = row * rowBytes;
            foreach (byte code in codes.Slice(row * depth, depth))
            {
                if (code >> bits != 0) throw new ArgumentException($"code {code} does not fit in {bits} bits", nameof(codes));
                pending |= (uint)code << filled;
                filled += bits;
                if (filled < 8) continue;
                packed[at++] = (byte)pending;
                pending >>= 8;
                filled -= 8;
            }

            if (filled > 0) packed[at] = (byte)pending;
        }

        return packed;
    }

    /// <summary>Unpacks codes; bits after the last code of a row are ignored.</summary>
    /// <param name="packed"><c>[rows, ⌈depth·bits / 8⌉]</c>.</param>
    /// <param name="codes">Filled, <c>[rows, depth]</c>.</param>
    /// <param name="depth">Codes of a row.</param>
    /// <param name="bits">2 to 8.</param>
    /// <exception cref="ArgumentException">The lengths do not fit.</exception>
    public static void Unpack(ReadOnlySpan<byte> packed, Span<byte> codes, int depth, int bits)
    {
        int rows = Rows(codes.Length, depth, bits, nameof(codes));
        int rowBytes = RowBytes(depth, bits);
        if (packed.Length != (long)rows * rowBytes) throw new ArgumentException($"{rows} rows of {depth} codes of {bits} bits have {(long)rows * rowBytes} bytes, found {packed.Length}", nameof(packed));
        uint mask = (1u << bits) - 1;
        for (int row = 0; row < rows; row++)
        {
            uint pending = 0;
            int filled = 0, at = row * rowBytes;
            Span<byte> destination = codes.Slice(row * depth, depth);
            for (int i = 0; i < destination.Length; i++)
            {
                if (filled < bits)
                {
                    pending |= (uint)packed[at++] << filled;
                    filled += 8;
                }

                destination[i] = (byte)(pending & mask);
                pending >>= bits;
                filled -= bits;
            }
        }
    }

    private static int Rows(int codes, int depth, int bits, string parameter)
    {
        if (bits is < 2 or > 8) throw new ArgumentException($"codes have 2 to 8 bits, found {bits}", nameof(bits));
        if (depth < 1 || codes % depth != 0) throw new ArgumentException($"{codes} codes are no whole rows of {depth}", parameter);
        return codes / depth;
    }
}

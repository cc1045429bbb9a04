using System.Buffers.Binary;

namespace LowBitDiffusion.Imaging;

/// <summary>What reader and writer share of the PNG format (ISO/IEC 15948): signature, colour types, chunk checksum, row filters.</summary>
internal static class PngFormat
{
    public const int FilterCount = 5;

    public const int HeaderLength = 13;

    public const int MaximumKeywordLength = 79;

    private static readonly uint[] CrcTable = MakeCrcTable();

    public static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', (byte)'\r', (byte)'\n', 0x1A, (byte)'\n'];

    /// <summary>Colour type of a number of channels: bit 1 colour, bit 2 alpha.</summary>
    public static byte ColourType(int channels) => channels switch { 1 => 0, 3 => 2, _ => 6 };

    /// <summary>Channels of a colour type, or null for one that is not supported (palettes, grey with alpha).</summary>
    public static int? Channels(byte colourType) => colourType switch { 0 => 1, 2 => 3, 6 => 4, _ => null };

    /// <summary>CRC-32 of ISO 3309 over a chunk's type and data.</summary>
    public static uint Crc(ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        uint crc = uint.MaxValue;
        foreach (byte b in type) crc = CrcTable[(byte)(crc ^ b)] ^ (crc >> 8);
        foreach (byte b in data) crc = CrcTable[(byte)(crc ^ b)] ^ (crc >> 8);
        return ~crc;
    }

    /// <summary>
    /// Replaces a row by its differences from a prediction. <c>a</c> is the pixel to the left, <c>b</c> the one above, <c>c</c> the one above left, all 0
    /// outside the image.
    /// <code>
    /// 0 none: 0     1 sub: a     2 up: b     3 average: (a + b) div 2     4 Paeth: whichever of a, b, c is nearest to a + b − c
    /// </code>
    /// </summary>
    public static void Filter(int filter, ReadOnlySpan<byte> row, ReadOnlySpan<byte> above, int pixelBytes, Span<byte> filtered)
    {
        for (int i = 0; i < row.Length; i++)
        {
            byte a = i >= pixelBytes ? row[i - pixelBytes] : (byte)0;
            byte c = i >= pixelBytes ? above[i - pixelBytes] : (byte)0;
            filtered[i] = (byte)(row[i] - Predict(filter, a, above[i], c));
        }
    }

    /// <summary>The inverse of <see cref="Filter"/>, in place.</summary>
    public static void Unfilter(int filter, Span<byte> row, ReadOnlySpan<byte> above, int pixelBytes)
    {
        for (int i = 0; i < row.Length; i++)
        {
            byte a = i >= pixelBytes ? row[i - pixelBytes] : (byte)0;
            byte c = i >= pixelBytes ? above[i - pixelBytes] : (byte)0;
            row[i] = (byte)(row[i] + Predict(filter, a, above[i], c));
        }
    }

    private static int Predict(int filter, int a, int b, int c) => filter switch
    {
        0 => 0,
        1 => a,
        2 => b,
        3 => (a + b) / 2,
        _ => Paeth(a, b, c),
    };

    // Ties prefer left, then above.
    private static int Paeth(int a, int b, int c)
    {
        int toLeft = Math.Abs(b - c);
        int toAbove = Math.Abs(a - c);
        int toCorner = Math.Abs(a + b - 2 * c);
        if (toLeft <= toAbove && toLeft <= toCorner) return a;
        return toAbove <= toCorner ? b : c;
    }

    private static uint[] MakeCrcTable()
    {
        const uint Polynomial = 0xEDB88320;
        var table = new uint[256];
        for (uint n = 0; n < table.Length; n++)
        {
            uint c = n;
            for (int bit = 0; bit < 8; bit++) c = (c & 1) != 0 ? Polynomial ^ (c >> 1) : c >> 1;
            table[n] = c;
        }

        return table;
    }

    /// <summary>A big-endian 32-bit number.</summary>
    public static uint ReadNumber(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt32BigEndian(bytes);

    /// <summary>Appends a big-endian 32-bit number.</summary>
    public static void WriteNumber(Stream stream, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        stream.Write(bytes);
    }
}

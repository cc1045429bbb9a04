using System.IO.Compression;
using System.Text;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Imaging;

/// <summary>
/// Writes 8-bit PNG files. Each row gets the filter whose output has the smallest sum of magnitudes (the heuristic of the PNG specification, section 12.8).
/// Texts in Latin-1 are stored as
/// <c>tEXt</c>, others as <c>iTXt</c> in UTF-8.
/// </summary>
public static class PngWriter
{
    /// <summary>Saves an image as a file, whole or not at all.</summary>
    /// <param name="path">The file; replaced if it exists.</param>
    /// <param name="image">The pixels.</param>
    /// <param name="texts">Texts to store with it.</param>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    /// <exception cref="InvalidRequestException">A keyword or a text cannot be stored.</exception>
    public static void Save(string path, Image image, IReadOnlyList<PngText>? texts = null) => OutputFile.WriteAllBytes(path, Encode(image, texts));

    /// <summary>Encodes an image.</summary>
    /// <param name="image">The pixels.</param>
    /// <param name="texts">Texts to store with it.</param>
    /// <exception cref="InvalidRequestException">A keyword or a text cannot be stored.</exception>
    public static byte[] Encode(Image image, IReadOnlyList<PngText>? texts = null)
    {
        using var png = new MemoryStream();
        png.Write(PngFormat.Signature);
        WriteChunk(png, "IHDR"u8, Header(image));
        foreach (PngText text in texts ?? []) WriteText(png, text);
        WriteChunk(png, "IDAT"u8, Compress(image));
        WriteChunk(png, "IEND"u8, []);
        return png.ToArray();
    }

    private static byte[] Header(Image image)
    {
        using var header = new MemoryStream(PngFormat.HeaderLength);
        PngFormat.WriteNumber(header, (uint)image.Width);
        PngFormat.WriteNumber(header, (uint)image.Height);
        header.Write([8, PngFormat.ColourType(image.Channels), 0, 0, 0]);
        return header.ToArray();
    }

    private static byte[] Compress(Image image)
    {
        using var compressed = new MemoryStream();
        using (var zlib = new ZLibStream(compressed, CompressionLevel.Optimal))
        {
            int stride = image.Width * image.Channels;
            ReadOnlySpan<byte> above = new byte[stride];
            byte[] candidate = new byte[stride];
            byte[] best = new byte[stride];
            for (int y = 0; y < image.Height; y++)
            {
                ReadOnlySpan<byte> row = image.Pixels.AsSpan(y * stride, stride);
                byte filter = ChooseFilter(row, above, image.Channels, ref best, ref candidate);
                zlib.WriteByte(filter);
                zlib.Write(best);
                above = row;
            }
        }

        return compressed.ToArray();
    }

    private static byte ChooseFilter(ReadOnlySpan<byte> row, ReadOnlySpan<byte> above, int pixelBytes, ref byte[] best, ref byte[] candidate)
    {
        (byte chosen, long smallest) = (0, long.MaxValue);
        for (int filter = 0; filter < PngFormat.FilterCount; filter++)
        {
            PngFormat.Filter(filter, row, above, pixelBytes, candidate);
            long sum = 0;
            foreach (byte difference in candidate) sum += Math.Abs((int)(sbyte)difference);
            if (sum >= smallest) continue;
            (chosen, smallest) = ((byte)filter, sum);
            (best, candidate) = (candidate, best);
        }

        return chosen;
    }

    private static void WriteText(Stream png, PngText text)
    {
        CheckKeyword(text.Keyword);
        if (text.Text.Contains('\0')) throw new InvalidRequestException("text", $"'{text.Keyword}' contains a NUL character, which PNG cannot store");
        bool latin = text.Text.All(c => c <= '\u00FF');
        using var data = new MemoryStream();
        data.Write(Encoding.Latin1.GetBytes(text.Keyword));

        // After the keyword and its NUL, iTXt has two bytes for "not compressed" and two empty strings for language and translated keyword.
        data.Write(latin ? [0] : [0, 0, 0, 0, 0]);
        data.Write((latin ? Encoding.Latin1 : Encoding.UTF8).GetBytes(text.Text));
        WriteChunk(png, latin ? "tEXt"u8 : "iTXt"u8, data.ToArray());
    }

    private static void CheckKeyword(string keyword)
    {
        bool valid = keyword.Length is > 0 and <= PngFormat.MaximumKeywordLength
            && keyword.All(c => c is (>= ' ' and <= '~') or (>= '\u00A1' and <= '\u00FF'))
            && keyword.Trim(' ').Length == keyword.Length
            && !keyword.Contains("  ", StringComparison.Ordinal);
        if (!valid)
            throw new InvalidRequestException(
                "keyword",
                $"expected 1 to {PngFormat.MaximumKeywordLength} printable Latin-1 characters without surplus spaces, found \"{keyword}\"");
    }

    private static void WriteChunk(Stream png, ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        PngFormat.WriteNumber(png, (uint)data.Length);
        png.Write(type);
        png.Write(data);
        PngFormat.WriteNumber(png, PngFormat.Crc(type, data));
    }
}

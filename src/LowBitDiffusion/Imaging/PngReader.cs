using System.IO.Compression;
using System.Text;

namespace LowBitDiffusion.Imaging;

/// <summary>
/// Reads 8-bit grey, RGB and RGBA PNG files that are not interlaced, with all row filters, and their uncompressed texts. Sizes are bounded before anything is
/// allocated, and exactly the
/// image's bytes are decompressed, so a small file cannot ask for much memory or time.
/// </summary>
public static class PngReader
{
    /// <summary>Largest file that is read.</summary>
    public const int MaximumFileBytes = 1 << 28;

    /// <summary>Largest image that is decoded.</summary>
    public const int MaximumPixelBytes = 1 << 28;

    /// <summary>Reads a file.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="ModelFormatException">The file cannot be read, is not a PNG, is damaged, too large, or of a kind that is not supported.</exception>
    public static PngFile Load(string path)
    {
        try
        {
            using FileStream file = File.OpenRead(path);
            if (file.Length > MaximumFileBytes) throw Bad(path, null, $"expected at most {MaximumFileBytes} bytes, found {file.Length}");
            byte[] bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return Decode(bytes, path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ModelFormatException(path, null, $"cannot be read: {error.Message}", error);
        }
    }

    /// <summary>Decodes a file's bytes.</summary>
    /// <param name="png">The whole file.</param>
    /// <param name="file">Its name, for errors.</param>
    /// <exception cref="ModelFormatException">The bytes are not a PNG, damaged, too large, or of a kind that is not supported.</exception>
    public static PngFile Decode(ReadOnlySpan<byte> png, string file)
    {
        if (!png.StartsWith(PngFormat.Signature)) throw Bad(file, null, "does not begin with the signature of a PNG");
        Image? image = null;
        var texts = new List<PngText>();
        using var compressed = new MemoryStream();
        string previous = "";
        for (int position = PngFormat.Signature.Length; previous != "IEND";)
        {
            (string type, int start, int length) = NextChunk(png, position, file);
            ReadOnlySpan<byte> data = png.Slice(start, length);
            position = start + length + 4;
            if ((image is null) != (type == "IHDR")) throw Bad(file, type, "IHDR must be the first chunk and the only one of its kind");
            switch (type)
            {
                case "IHDR":
                    image = ReadHeader(data, file);
                    break;
                case "IDAT":
                    if (compressed.Length > 0 && previous != "IDAT") throw Bad(file, type, "the image's data is interrupted by another chunk");
                    compressed.Write(data);
                    break;
                case "tEXt":
                    texts.Add(ReadLatinText(data, file));
                    break;
                case "iTXt":
                    if (ReadUnicodeText(data, file) is { } text) texts.Add(text);
                    break;
                case "tRNS":
                    throw Bad(file, type, "transparency by colour is not supported, expected an alpha channel");
                default:
                    // A capital letter marks a chunk without which the image cannot be understood; a palette is only a hint for images in full colour.
                    if (char.IsAsciiLetterUpper(type[0]) && type is not ("IEND" or "PLTE")) throw Bad(file, type, "is not supported");
                    break;
            }

            previous = type;
        }

        compressed.Position = 0;
        Inflate(compressed, image!, file);
        return new PngFile(image!, texts);
    }

    private static (string Type, int Start, int Length) NextChunk(ReadOnlySpan<byte> png, int position, string file)
    {
        if (png.Length - position < 12) throw Bad(file, null, $"ends at byte {png.Length} inside a chunk or before IEND");
        uint length = PngFormat.ReadNumber(png[position..]);
        ReadOnlySpan<byte> type = png.Slice(position + 4, 4);
        string name = Encoding.Latin1.GetString(type);
        if (name.Any(c => !char.IsAsciiLetter(c))) throw Bad(file, null, $"a chunk's type at byte {position + 4} is not four letters");
        if (length > png.Length - position - 12) throw Bad(file, name, $"claims {length} bytes, but {png.Length - position - 12} are left");
        uint expected = PngFormat.ReadNumber(png[(position + 8 + (int)length)..]);
        uint found = PngFormat.Crc(type, png.Slice(position + 8, (int)length));
        if (expected != found) throw Bad(file, name, $"is damaged: checksum {expected:x8} expected, {found:x8} found");
        return (name, position + 8, (int)length);
    }

    private static Image ReadHeader(ReadOnlySpan<byte> data, string file)
    {
        if (data.Length != PngFormat.HeaderLength) throw Bad(file, "IHDR", $"expected {PngFormat.HeaderLength} bytes, found {data.Length}");
        uint width = PngFormat.ReadNumber(data);
        uint height = PngFormat.ReadNumber(data[4..]);
        (byte depth, byte colour, byte compression, byte filter, byte interlace) = (data[8], data[9], data[10], data[11], data[12]);
        if (depth != 8) throw Bad(file, "IHDR", $"expected 8 bits per channel, found {depth}");
        if (PngFormat.Channels(colour) is not { } channels) throw Bad(file, "IHDR", $"expected colour type 0 (grey), 2 (RGB) or 6 (RGBA), found {colour}");
        if (compression != 0 || filter != 0) throw Bad(file, "IHDR", $"expected compression and filter method 0, found {compression} and {filter}");
        if (interlace != 0) throw Bad(file, "IHDR", $"interlaced images are not supported, expected 0, found {interlace}");
        if (width == 0 || height == 0 || (UInt128)width * height * (uint)channels > MaximumPixelBytes)
            throw Bad(file, "IHDR", $"expected a size of 1 to {MaximumPixelBytes} bytes, found {width}x{height} with {channels} channels");
        return new Image((int)width, (int)height, channels);
    }

    private static PngText ReadLatinText(ReadOnlySpan<byte> data, string file)
    {
        int end = KeywordEnd(data, "tEXt", file);
        return new PngText(Encoding.Latin1.GetString(data[..end]), Encoding.Latin1.GetString(data[(end + 1)..]));
    }

    // keyword NUL, compressed?, method, language NUL, translated keyword NUL, text
    private static PngText? ReadUnicodeText(ReadOnlySpan<byte> data, string file)
    {
        int end = KeywordEnd(data, "iTXt", file);
        ReadOnlySpan<byte> rest = data[(end + 1)..];
        if (rest.Length < 2) throw Bad(file, "iTXt", "ends before its text");
        bool isCompressed = rest[0] != 0;
        rest = rest[2..];
        for (int skipped = 0; skipped < 2; skipped++)
        {
            int zero = rest.IndexOf((byte)0);
            if (zero < 0) throw Bad(file, "iTXt", "ends before its text");
            rest = rest[(zero + 1)..];
        }

        return isCompressed ? null : new PngText(Encoding.Latin1.GetString(data[..end]), Encoding.UTF8.GetString(rest));
    }

    private static int KeywordEnd(ReadOnlySpan<byte> data, string type, string file)
    {
        int end = data.IndexOf((byte)0);
        return end is > 0 and <= PngFormat.MaximumKeywordLength
            ? end
            : throw Bad(file, type, $"expected a keyword of 1 to {PngFormat.MaximumKeywordLength} bytes");
    }

    private static void Inflate(Stream compressed, Image image, string file)
    {
        int stride = image.Width * image.Channels;
        Span<byte> above = new byte[stride];
        try
        {
            using var zlib = new ZLibStream(compressed, CompressionMode.Decompress);
            for (int y = 0; y < image.Height; y++)
            {
                int filter = zlib.ReadByte();
                Span<byte> row = image.Pixels.AsSpan(y * stride, stride);
                if (filter < 0 || zlib.ReadAtLeast(row, stride, throwOnEndOfStream: false) < stride)
                    throw Bad(file, "IDAT", $"ends in row {y} of {image.Height}");
                if (filter >= PngFormat.FilterCount) throw Bad(file, "IDAT", $"row {y} has filter {filter}, expected 0 to {PngFormat.FilterCount - 1}");
                PngFormat.Unfilter(filter, row, above, image.Channels);
                above = row;
            }

            if (zlib.ReadByte() >= 0) throw Bad(file, "IDAT", $"has more data than {image.Height} rows of {stride} bytes");
        }
        catch (Exception error) when (error is InvalidDataException or IOException)
        {
            throw new ModelFormatException(file, "IDAT", $"is not a zlib stream: {error.Message}", error);
        }
    }

    private static ModelFormatException Bad(string file, string? chunk, string problem) => new(file, chunk, problem);
}

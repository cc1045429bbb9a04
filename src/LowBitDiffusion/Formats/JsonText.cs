using System.Text.Json;
using System.Text.Unicode;

namespace LowBitDiffusion.Formats;

/// <summary>
/// Parses JSON files as Python writes them: a byte order mark is skipped, and <c>NaN</c>, <c>Infinity</c> and <c>-Infinity</c>, which are not JSON, become texts of
/// that spelling. Everything else is strict, and a key given twice is an error.
/// </summary>
internal static class JsonText
{
    // No configuration or index of a model comes near; a wrong file does not get into memory.
    private const long MaxLength = 256L << 20;

    /// <exception cref="ModelFormatException">The file is missing, cannot be read or is not JSON.</exception>
    public static JsonElement ReadFile(string path)
    {
        try
        {
            long length = new FileInfo(path).Length;
            if (length > MaxLength) throw new ModelFormatException(path, null, $"a JSON file of a model has at most {MaxLength} bytes, found {length}");
            return Parse(path, File.ReadAllBytes(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ModelFormatException(path, null, File.Exists(path) ? $"cannot be read: {e.Message}" : "no such file", e);
        }
    }

    /// <exception cref="ModelFormatException">Not JSON.</exception>
    public static JsonElement Parse(string origin, ReadOnlySpan<byte> text)
    {
        if (!Utf8.IsValid(text)) throw new ModelFormatException(origin, null, "is not UTF-8");
        ReadOnlySpan<byte> mark = [0xef, 0xbb, 0xbf];
        if (text.StartsWith(mark)) text = text[mark.Length..];
        try
        {
            using JsonDocument document = JsonDocument.Parse(QuoteBarewords(text), new JsonDocumentOptions { AllowDuplicateProperties = false });
            return document.RootElement.Clone();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a name with half of a surrogate pair is valid JSON but not a text.
            throw new ModelFormatException(origin, null, $"is not valid JSON: {e.Message}", e);
        }
    }

    private static ReadOnlyMemory<byte> QuoteBarewords(ReadOnlySpan<byte> text)
    {
        using MemoryStream quoted = new(text.Length + 16);
        bool inString = false;
        for (int i = 0; i < text.Length; i++)
        {
            if (inString && text[i] == (byte)'\\' && i + 1 < text.Length)
            {
                quoted.WriteByte(text[i++]);
            }
            else if (text[i] == (byte)'"')
            {
                inString = !inString;
            }
            else if (!inString && Bareword(text[i..]) is { Length: > 0 } word)
            {
                quoted.WriteByte((byte)'"');
                quoted.Write(word);
                quoted.WriteByte((byte)'"');
                i += word.Length - 1;
                continue;
            }

            quoted.WriteByte(text[i]);
        }

        return quoted.GetBuffer().AsMemory(0, (int)quoted.Length);
    }

    private static ReadOnlySpan<byte> Bareword(ReadOnlySpan<byte> text)
        => text.StartsWith("NaN"u8) ? "NaN"u8 : text.StartsWith("Infinity"u8) ? "Infinity"u8 : text.StartsWith("-Infinity"u8) ? "-Infinity"u8 : [];
}

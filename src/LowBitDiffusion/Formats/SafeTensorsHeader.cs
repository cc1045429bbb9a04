using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Unicode;

namespace LowBitDiffusion.Formats;

/// <summary>A tensor and where it lies in the data that follow the header.</summary>
internal readonly record struct SafeTensorsEntry(TensorInfo Info, long Begin, long End)
{
    public long Length => End - Begin;
}

/// <summary>
/// The header of a safetensors file, everything in it checked before any tensor is touched.
/// <code>
/// ┌──────────────┬───────────────────────────────────────┬───────────────────────────┐
/// │ u64 length n │ n bytes of JSON, padded with spaces   │ data, tiled by tensors    │
/// └──────────────┴───────────────────────────────────────┴───────────────────────────┘
///                 {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {string: string}}
/// </code>
/// Offsets count from the end of the header. Tensors may be listed in any order, but together they cover the data without gap or overlap.
/// </summary>
internal sealed class SafeTensorsHeader
{
    /// <summary>Bytes of the length field.</summary>
    public const int PrefixLength = 8;

    /// <summary>The longest header the format allows.</summary>
    public const int MaxLength = 100_000_000;

    private readonly string _file;
    private readonly HashSet<string> _names = [];
    private readonly List<SafeTensorsEntry> _entries = [];
    private readonly Dictionary<string, string> _metadata = [];

    private SafeTensorsHeader(string file) => _file = file;

    /// <summary>The tensors in the order of their data.</summary>
    public IReadOnlyList<SafeTensorsEntry> Entries => _entries;

    /// <summary>The header's <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>End of the last tensor, counted from the end of the header.</summary>
    public long DataLength => _entries.Count == 0 ? 0 : _entries[^1].End;

    /// <summary>Reads the length field.</summary>
    /// <param name="file">For messages.</param>
    /// <param name="prefix">The first 8 bytes of the file.</param>
    /// <exception cref="ModelFormatException">Longer than the format allows.</exception>
    public static int ReadLength(string file, ReadOnlySpan<byte> prefix)
    {
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > MaxLength) throw new ModelFormatException(file, null, $"header length must be at most {MaxLength} bytes, found {length}; not a safetensors file?");
        return (int)length;
    }

    /// <summary>Reads and checks the header.</summary>
    /// <param name="file">For messages.</param>
    /// <param name="json">The header without its length.</param>
    /// <param name="dataLength">Bytes that follow the header, or null where that is not known yet (a stream).</param>
    /// <exception cref="ModelFormatException">Anything is not as the format says.</exception>
    public static SafeTensorsHeader Parse(string file, ReadOnlySpan<byte> json, long? dataLength)
    {
        if (!Utf8.IsValid(json)) throw new ModelFormatException(file, null, "header is not UTF-8");
        if (json.IsEmpty || json[0] != (byte)'{') throw new ModelFormatException(file, null, "header must be a JSON object");
        SafeTensorsHeader header = new(file);
        try
        {
            header.ReadObject(json);
        }
        catch (JsonException e)
        {
            throw new ModelFormatException(file, null, $"header is not valid JSON: {e.Message}", e);
        }

        header.CheckTiling(dataLength);
        return header;
    }

    private void ReadObject(ReadOnlySpan<byte> json)
    {
        Utf8JsonReader reader = new(json);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = Text(ref reader, null);
            if (!_names.Add(name)) throw Error(name, "listed twice");
            reader.Read();
            if (name == "__metadata__") ReadMetadata(ref reader);
            else ReadTensor(ref reader, name);
        }

        // Only spaces may follow the object; the reader throws on anything else.
        reader.Read();
    }

    private void ReadMetadata(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.Null) return;
        if (reader.TokenType != JsonTokenType.StartObject) throw Error("__metadata__", $"expected an object of strings, found {Describe(reader.TokenType)}");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = Text(ref reader, "__metadata__");
            reader.Read();
            if (reader.TokenType != JsonTokenType.String) throw Error("__metadata__", $"value of '{key}' must be a string, found {Describe(reader.TokenType)}");
            if (!_metadata.TryAdd(key, Text(ref reader, "__metadata__"))) throw Error("__metadata__", $"key '{key}' listed twice");
        }
    }

    private void ReadTensor(ref Utf8JsonReader reader, string name)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Error(name, $"expected an object, found {Describe(reader.TokenType)}");
        string? type = null;
        List<long>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = Text(ref reader, name);
            reader.Read();
            switch (key)
            {
                case "dtype" when type is null && reader.TokenType == JsonTokenType.String: type = Text(ref reader, name); break;
                case "dtype": throw Error(name, type is null ? $"dtype must be a string, found {Describe(reader.TokenType)}" : "dtype given twice");
                case "shape" when shape is null: shape = Integers(ref reader, name, key); break;
                case "data_offsets" when offsets is null: offsets = Integers(ref reader, name, key); break;
                case "shape" or "data_offsets": throw Error(name, $"{key} given twice");
                default: reader.Skip(); break;
            }
        }

        if (type is null || shape is null || offsets is null)
            throw Error(name, $"no {(type is null ? "dtype" : shape is null ? "shape" : "data_offsets")}");
        if (offsets.Count != 2) throw Error(name, $"data_offsets must be two numbers, found {offsets.Count}");
        _entries.Add(CheckedEntry(name, type, shape, offsets[0], offsets[1]));
    }

    private SafeTensorsEntry CheckedEntry(string name, string typeName, List<long> shape, long begin, long end)
    {
        if (end < begin) throw Error(name, $"data_offsets must not decrease, found [{begin}, {end}]");
        DType type = DTypes.Parse(typeName);
        TensorInfo info;
        try
        {
            info = new TensorInfo(name, type, shape.AsReadOnly()) { TypeName = typeName };
        }
        catch (OverflowException e)
        {
            throw new ModelFormatException(_file, name, $"shape [{string.Join(", ", shape)}] of {typeName} overflows", e);
        }

        // The element size of an unknown type is unknown: its bytes are only bounded.
        if (type == DType.Unknown) info = info with { ByteLength = end - begin };
        else if (info.ByteLength != end - begin)
            throw Error(name, $"shape {info.ShapeText} of {typeName} needs {info.ByteLength} bytes, data_offsets [{begin}, {end}] give {end - begin}");
        return new SafeTensorsEntry(info, begin, end);
    }

    private void CheckTiling(long? dataLength)
    {
        // Stable, so that empty tensors at the same place keep the file's order.
        List<SafeTensorsEntry> ordered = [.. _entries.OrderBy(entry => entry.Begin).ThenBy(entry => entry.End)];
        _entries.Clear();
        _entries.AddRange(ordered);
        long covered = 0;
        foreach (SafeTensorsEntry entry in _entries)
        {
            string name = entry.Info.Name;
            if (entry.End > dataLength) throw Error(name, $"data_offsets [{entry.Begin}, {entry.End}] reach beyond the {dataLength} bytes of data; is the file truncated?");
            if (entry.Begin < covered) throw Error(name, $"data_offsets [{entry.Begin}, {entry.End}] overlap the tensor that ends at {covered}");
            if (entry.Begin > covered) throw Error(name, $"data_offsets [{entry.Begin}, {entry.End}] leave a gap after {covered}");
            covered = entry.End;
        }

        if (dataLength > covered) throw new ModelFormatException(_file, null, $"tensors cover {covered} bytes of data, the file has {dataLength}");
    }

    private List<long> Integers(ref Utf8JsonReader reader, string name, string key)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw Error(name, $"{key} must be an array of integers, found {Describe(reader.TokenType)}");
        List<long> values = [];
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number) throw Error(name, $"{key} must be an array of integers, found {Describe(reader.TokenType)} in it");
            if (reader.ValueSpan[0] == (byte)'-' || !reader.TryGetInt64(out long value))
                throw Error(name, $"{key} must hold integers from 0 to 2^63 - 1, found {System.Text.Encoding.ASCII.GetString(reader.ValueSpan[..Math.Min(40, reader.ValueSpan.Length)])}");
            values.Add(value);
        }

        return values;
    }

    private string Text(ref Utf8JsonReader reader, string? tensor)
    {
        try
        {
            return reader.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            // An escaped half of a surrogate pair is valid JSON but not a text.
            throw new ModelFormatException(_file, tensor, "header holds a string that is not Unicode", e);
        }
    }

    private ModelFormatException Error(string tensor, string problem) => new(_file, tensor, problem);

    private static string Describe(JsonTokenType token) => token switch
    {
        JsonTokenType.StartObject => "an object",
        JsonTokenType.StartArray => "an array",
        JsonTokenType.String => "a string",
        JsonTokenType.Number => "a number",
        JsonTokenType.Null => "null",
        _ => "a boolean",
    };
}

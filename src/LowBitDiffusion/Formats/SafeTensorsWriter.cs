using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace LowBitDiffusion.Formats;

/// <summary>
/// Writes a safetensors file tensor by tensor. All tensors are declared first, so that the header can be written; their bytes follow in any order, whole or in
/// pieces. The same tensors give the same bytes whatever the order: tensors are laid out by falling element size, then by name, which aligns each to its
/// element, and the header is padded with spaces to a multiple of 8. The file appears under its name when it is complete; disposing earlier leaves nothing.
/// </summary>
public sealed class SafeTensorsWriter : IDisposable
{
    private readonly OutputFile _file;
    private readonly Dictionary<string, (TensorInfo Info, long Begin)> _places = [];
    private readonly Dictionary<string, long> _written = [];

    private SafeTensorsWriter(OutputFile file, IEnumerable<TensorInfo> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        _file = file;
        List<(TensorInfo Info, long Begin)> layout = Layout(tensors);
        byte[] header = Header(layout, metadata ?? new Dictionary<string, string>());
        foreach ((TensorInfo info, long begin) in layout)
        {
            _places.Add(info.Name, (info, header.Length + begin));
            _written.Add(info.Name, 0);
        }

        _file.Write(0, header);
    }

    /// <summary>Starts a file.</summary>
    /// <param name="path">The file to write; its folder must exist.</param>
    /// <param name="tensors">Every tensor it will hold.</param>
    /// <param name="metadata">The header's <c>__metadata__</c>.</param>
    /// <exception cref="ArgumentException">Two tensors have one name, one is named <c>__metadata__</c> or has a type of unknown size, or the header is too long.</exception>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public static SafeTensorsWriter Create(string path, IEnumerable<TensorInfo> tensors, IReadOnlyDictionary<string, string>? metadata = null)
        => Create(OutputFile.Create(path), tensors, metadata);

    internal static SafeTensorsWriter Create(OutputFile file, IEnumerable<TensorInfo> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        try
        {
            return new SafeTensorsWriter(file, tensors, metadata);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Writes a whole file.</summary>
    /// <param name="path">The file to write; its folder must exist.</param>
    /// <param name="tensors">The tensors with their bytes, little-endian and row-major.</param>
    /// <param name="metadata">The header's <c>__metadata__</c>.</param>
    /// <param name="cancellationToken">Checked between tensors; nothing is left of a cancelled file.</param>
    /// <exception cref="ArgumentException">As for <see cref="Create(string, IEnumerable{TensorInfo}, IReadOnlyDictionary{string, string}?)"/>, or bytes do not fit their tensor.</exception>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public static void Write(string path, IEnumerable<(TensorInfo Info, byte[] Bytes)> tensors, IReadOnlyDictionary<string, string>? metadata = null, CancellationToken cancellationToken = default)
    {
        List<(TensorInfo Info, byte[] Bytes)> all = [.. tensors];
        using SafeTensorsWriter writer = Create(path, all.Select(tensor => tensor.Info), metadata);
        foreach ((TensorInfo info, byte[] bytes) in all)
        {
            cancellationToken.ThrowIfCancellationRequested();
            writer.Write(info.Name, bytes);
        }

        cancellationToken.ThrowIfCancellationRequested();
        writer.Complete();
    }

    /// <summary>Writes a tensor's bytes, or the next piece of them.</summary>
    /// <exception cref="ArgumentException">The tensor was not declared, or gets more bytes than it has.</exception>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public void Write(string name, ReadOnlySpan<byte> bytes)
    {
        if (!_places.TryGetValue(name, out (TensorInfo Info, long Begin) place)) throw new ArgumentException($"'{name}' was not declared", nameof(name));
        long done = _written[name];
        if (bytes.Length > place.Info.ByteLength - done)
            throw new ArgumentException($"'{name}' has {place.Info.ByteLength} bytes, {done} were written and {bytes.Length} more given", nameof(bytes));
        _file.Write(place.Begin + done, bytes);
        _written[name] = done + bytes.Length;
    }

    /// <summary>Gives the finished file its name.</summary>
    /// <exception cref="InvalidOperationException">A tensor has not been written completely.</exception>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public void Complete()
    {
        foreach ((string name, long done) in _written)
        {
            if (done != _places[name].Info.ByteLength) throw new InvalidOperationException($"'{name}' has {_places[name].Info.ByteLength} bytes, {done} were written");
        }

        _file.Commit();
    }

    /// <summary>Removes what was written unless it was completed.</summary>
    public void Dispose() => _file.Dispose();

    private static List<(TensorInfo Info, long Begin)> Layout(IEnumerable<TensorInfo> tensors)
    {
        List<(TensorInfo, long)> layout = [];
        HashSet<string> names = ["__metadata__"];
        long begin = 0;
        foreach (TensorInfo info in tensors.OrderByDescending(info => DTypes.Size(info.DType)).ThenBy(info => info.Name, StringComparer.Ordinal))
        {
            if (!names.Add(info.Name)) throw new ArgumentException($"'{info.Name}' is declared twice or reserved", nameof(tensors));
            if (info.DType == DType.Unknown) throw new ArgumentException($"'{info.Name}' has the unknown type '{info.TypeName}'", nameof(tensors));
            layout.Add((info, begin));
            begin = checked(begin + info.ByteLength);
        }

        return layout;
    }

    private static byte[] Header(List<(TensorInfo Info, long Begin)> layout, IReadOnlyDictionary<string, string> metadata)
    {
        using MemoryStream stream = new();
        stream.Write(stackalloc byte[SafeTensorsHeader.PrefixLength]);
        using (Utf8JsonWriter json = new(stream, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            if (metadata.Count > 0)
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal)) json.WriteString(key, value);
                json.WriteEndObject();
            }

            foreach ((TensorInfo info, long begin) in layout)
            {
                json.WriteStartObject(info.Name);
                json.WriteString("dtype", info.TypeName);
                WriteNumbers(json, "shape", info.Shape);
                WriteNumbers(json, "data_offsets", [begin, begin + info.ByteLength]);
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        while (stream.Length % 8 != 0) stream.WriteByte((byte)' ');
        byte[] header = stream.ToArray();
        int length = header.Length - SafeTensorsHeader.PrefixLength;
        if (length > SafeTensorsHeader.MaxLength) throw new ArgumentException($"the header has {length} bytes, the format allows {SafeTensorsHeader.MaxLength}", nameof(layout));
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)length);
        return header;
    }

    private static void WriteNumbers(Utf8JsonWriter json, string name, IEnumerable<long> values)
    {
        json.WriteStartArray(name);
        foreach (long value in values) json.WriteNumberValue(value);
        json.WriteEndArray();
    }
}

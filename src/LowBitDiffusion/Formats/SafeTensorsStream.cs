using System.Runtime.CompilerServices;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A safetensors file read from a stream that need not be seekable: the header is checked first, then tensors come one after the other in the order of their
/// data. Memory is bounded by the caller's buffer (<see cref="ReadAsync"/>) or by the largest tensor (<see cref="ReadTensorsAsync"/>), and a header that promises
/// more than the stream holds does not make it grow. Not thread-safe; the stream stays the caller's.
/// </summary>
public sealed class SafeTensorsStream
{
    private const int FirstPiece = 1 << 20;

    private readonly Stream _stream;
    private readonly string _origin;
    private readonly IReadOnlyList<SafeTensorsEntry> _entries;
    private int _current = -1;
    private long _left;

    private SafeTensorsStream(Stream stream, string origin, SafeTensorsHeader header)
    {
        (_stream, _origin, _entries, Metadata) = (stream, origin, header.Entries, header.Metadata);
        Tensors = [.. header.Entries.Select(entry => entry.Info)];
    }

    /// <summary>Every tensor, in the order in which they come.</summary>
    public IReadOnlyList<TensorInfo> Tensors { get; }

    /// <summary>The header's <c>__metadata__</c>; empty if it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Reads and checks the header.</summary>
    /// <param name="stream">Positioned at the file's first byte.</param>
    /// <param name="origin">What messages call it.</param>
    /// <param name="cancellationToken">Cancels the read.</param>
    /// <exception cref="ModelFormatException">Not a valid safetensors file, or the stream fails.</exception>
    public static async ValueTask<SafeTensorsStream> OpenAsync(Stream stream, string origin, CancellationToken cancellationToken = default)
    {
        byte[] prefix = await ReadUpToAsync(stream, origin, SafeTensorsHeader.PrefixLength, cancellationToken).ConfigureAwait(false);
        if (prefix.Length < SafeTensorsHeader.PrefixLength)
            throw new ModelFormatException(origin, null, $"a safetensors file has at least {SafeTensorsHeader.PrefixLength} bytes, found {prefix.Length}");
        int length = SafeTensorsHeader.ReadLength(origin, prefix);
        byte[] json = await ReadUpToAsync(stream, origin, length, cancellationToken).ConfigureAwait(false);
        if (json.Length < length) throw new ModelFormatException(origin, null, $"expected a header of {length} bytes, found {json.Length}");
        return new SafeTensorsStream(stream, origin, SafeTensorsHeader.Parse(origin, json, dataLength: null));
    }

    /// <summary>Goes to the next tensor, skipping what was not read of the one before; null after the last.</summary>
    /// <exception cref="ModelFormatException">The stream ends early, goes on after the last tensor, or fails.</exception>
    public async ValueTask<TensorInfo?> NextAsync(CancellationToken cancellationToken = default)
    {
        byte[] skipped = new byte[Math.Min(_left, 1 << 16)];
        while (_left > 0) await ReadAsync(skipped, cancellationToken).ConfigureAwait(false);
        if (_current < _entries.Count) _current++;
        if (_current < _entries.Count)
        {
            _left = _entries[_current].Length;
            return _entries[_current].Info;
        }

        if (await ReadSomeAsync(_stream, _origin, new byte[1], cancellationToken).ConfigureAwait(false) > 0)
            throw new ModelFormatException(_origin, null, "expected the end after the last tensor, found more data");
        return null;
    }

    /// <summary>Reads the next bytes of the current tensor; 0 at its end.</summary>
    /// <exception cref="ModelFormatException">The stream ends early or fails.</exception>
    public async ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        Memory<byte> wanted = destination[..(int)Math.Min(destination.Length, _left)];
        if (wanted.IsEmpty) return 0;
        int read = await ReadSomeAsync(_stream, _origin, wanted, cancellationToken).ConfigureAwait(false);
        if (read == 0) throw new ModelFormatException(_origin, _entries[_current].Info.Name, $"the data end {_left} bytes early");
        _left -= read;
        return read;
    }

    /// <summary>The remaining tensors with their bytes, one at a time.</summary>
    /// <exception cref="ModelFormatException">The stream ends early, goes on after the last tensor, or fails; a tensor is too large for one array.</exception>
    public async IAsyncEnumerable<(TensorInfo Info, byte[] Bytes)> ReadTensorsAsync([EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        while (await NextAsync(cancellationToken).ConfigureAwait(false) is { } info)
        {
            if (info.ByteLength > Array.MaxLength)
                throw new ModelFormatException(_origin, info.Name, $"its {info.ByteLength} bytes do not fit in one array; read it in pieces");
            byte[] bytes = new byte[Math.Min(info.ByteLength, FirstPiece)];
            for (int done = 0; done < info.ByteLength;)
            {
                if (done == bytes.Length) Array.Resize(ref bytes, (int)Math.Min(info.ByteLength, 2L * done));
                done += await ReadAsync(bytes.AsMemory(done), cancellationToken).ConfigureAwait(false);
            }

            yield return (info, bytes);
        }
    }

    private static async ValueTask<byte[]> ReadUpToAsync(Stream stream, string origin, int length, CancellationToken cancellationToken)
    {
        byte[] bytes = new byte[Math.Min(length, FirstPiece)];
        int done = 0;
        while (done < length)
        {
            if (done == bytes.Length) Array.Resize(ref bytes, (int)Math.Min(length, 2L * done));
            int read = await ReadSomeAsync(stream, origin, bytes.AsMemory(done), cancellationToken).ConfigureAwait(false);
            if (read == 0) break;
            done += read;
        }

        return bytes.Length == done ? bytes : bytes[..done];
    }

    private static async ValueTask<int> ReadSomeAsync(Stream stream, string origin, Memory<byte> destination, CancellationToken cancellationToken)
    {
        try
        {
            return await stream.ReadAsync(destination, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            throw new ModelFormatException(origin, null, $"cannot be read: {e.Message}", e);
        }
    }
}

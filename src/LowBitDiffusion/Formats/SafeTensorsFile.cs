using System.Buffers;
using System.Collections.ObjectModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A safetensors file: opening reads the header only, tensors are read at their place when asked for. Safe for concurrent reads. The file is not mapped into memory: what was read
/// stays with the caller alone, and a file that is shortened while it is open is an error like any other.
/// </summary>
public sealed class SafeTensorsFile : ITensorSource
{
    // What is converted is read in pieces that a core's cache holds.
    private const int PieceBytes = 1 << 18;

    private readonly SafeFileHandle _file;
    private readonly long _dataStart;
    private readonly Dictionary<string, SafeTensorsEntry> _entries;

    private SafeTensorsFile(string path, SafeFileHandle file, long dataStart, SafeTensorsHeader header)
    {
        (Origin, _file, _dataStart, Metadata) = (path, file, dataStart, header.Metadata);
        _entries = header.Entries.ToDictionary(entry => entry.Info.Name);
        Tensors = new ReadOnlyDictionary<string, TensorInfo>(header.Entries.ToDictionary(entry => entry.Info.Name, entry => entry.Info));
    }

    /// <inheritdoc/>
    public string Origin { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>The header's <c>__metadata__</c>; empty if it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="ModelFormatException">The file is missing, cannot be read or is not a valid safetensors file.</exception>
    public static SafeTensorsFile Open(string path)
    {
        SafeFileHandle? file = null;
        try
        {
            file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            long length = RandomAccess.GetLength(file);
            if (length < SafeTensorsHeader.PrefixLength) throw new ModelFormatException(path, null, $"a safetensors file has at least {SafeTensorsHeader.PrefixLength} bytes, found {length}");
            Span<byte> prefix = stackalloc byte[SafeTensorsHeader.PrefixLength];
            ReadExactly(path, file, null, 0, prefix);
            int headerLength = SafeTensorsHeader.ReadLength(path, prefix);
            long dataStart = SafeTensorsHeader.PrefixLength + (long)headerLength;
            if (dataStart > length) throw new ModelFormatException(path, null, $"a header of {headerLength} bytes does not fit in a file of {length}");
            byte[] json = new byte[headerLength];
            ReadExactly(path, file, null, SafeTensorsHeader.PrefixLength, json);
            return new SafeTensorsFile(path, file, dataStart, SafeTensorsHeader.Parse(path, json, length - dataStart));
        }
        catch (Exception e)
        {
            file?.Dispose();
            if (IsUnreadable(e)) throw Unreadable(path, null, e);
            throw;
        }
    }

    /// <inheritdoc/>
    public byte[] ReadBytes(string name)
    {
        SafeTensorsEntry entry = Entry(name);
        byte[] bytes = entry.Info.Allocate(Origin);
        Read(entry, 0, bytes);
        return bytes;
    }

    /// <inheritdoc/>
    public void ReadBytes(string name, Span<byte> destination)
    {
        SafeTensorsEntry entry = Entry(name);
        if (destination.Length != entry.Length) throw new ArgumentException($"'{name}' has {entry.Length} bytes, the buffer {destination.Length}", nameof(destination));
        Read(entry, 0, destination);
    }

    /// <inheritdoc/>
    public void ReadRange(string name, long byteOffset, Span<byte> destination)
    {
        Read(Entry(name), byteOffset, destination);
    }

    /// <inheritdoc/>
    public float[] ReadSingles(string name)
    {
        SafeTensorsEntry entry = Entry(name);
        float[] values = entry.Info.AllocateSingles(Origin);
        if (entry.Info.DType == DType.F32) Read(entry, 0, MemoryMarshal.AsBytes(values.AsSpan()));
        else Convert(entry, values);
        return values;
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();

    private void Convert(SafeTensorsEntry entry, Span<float> values)
    {
        int size = DTypes.Size(entry.Info.DType);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(PieceBytes);
        try
        {
            for (int done = 0; done < values.Length;)
            {
                int count = Math.Min(PieceBytes / size, values.Length - done);
                Span<byte> piece = buffer.AsSpan(0, count * size);
                Read(entry, (long)done * size, piece);
                TensorConversion.ToSingles(entry.Info.DType, piece, values.Slice(done, count));
                done += count;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private SafeTensorsEntry Entry(string name)
        => _entries.TryGetValue(name, out SafeTensorsEntry entry) ? entry : throw new ModelFormatException(Origin, name, "no such tensor");

    private void Read(SafeTensorsEntry entry, long offset, Span<byte> destination)
    {
        if (offset < 0 || destination.Length > entry.Length - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), $"{destination.Length} bytes at {offset} are outside '{entry.Info.Name}' of {entry.Length}");
        try
        {
            ReadExactly(Origin, _file, entry.Info.Name, _dataStart + entry.Begin + offset, destination);
        }
        catch (Exception e) when (IsUnreadable(e))
        {
            throw Unreadable(Origin, entry.Info.Name, e);
        }
    }

    private static void ReadExactly(string path, SafeFileHandle file, string? tensor, long offset, Span<byte> destination)
    {
        while (destination.Length > 0)
        {
            int read = RandomAccess.Read(file, destination, offset);
            if (read == 0) throw new ModelFormatException(path, tensor, $"the file ends {destination.Length} bytes early, at {offset}; was it shortened while it was open?");
            offset += read;
            destination = destination[read..];
        }
    }

    private static bool IsUnreadable(Exception e) => e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException;

    private static ModelFormatException Unreadable(string path, string? tensor, Exception e) => new(path, tensor, File.Exists(path) ? $"cannot be read: {e.Message}" : "no such file", e);
}

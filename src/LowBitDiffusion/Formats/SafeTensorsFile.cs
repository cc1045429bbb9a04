using System.Collections.ObjectModel;
using Microsoft.Win32.SafeHandles;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A safetensors file: opening reads the header only, tensors are read at their place when asked for. Safe for concurrent reads. The file is not mapped into memory: what was read
/// stays with the caller alone, and a file that is shortened while it is open is an error like any other.
/// </summary>
public sealed class SafeTensorsFile : ITensorSource
{
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
    public void ReadRange(string name, long byteOffset, Span<byte> destination)
    {
        SafeTensorsEntry entry = _entries.TryGetValue(name, out SafeTensorsEntry found) ? found : throw new ModelFormatException(Origin, name, "no such tensor");
        if (byteOffset < 0 || destination.Length > entry.Length - byteOffset)
            throw new ArgumentOutOfRangeException(nameof(byteOffset), $"{destination.Length} bytes at {byteOffset} are outside '{name}' of {entry.Length}");
        try
        {
            ReadExactly(Origin, _file, name, _dataStart + entry.Begin + byteOffset, destination);
        }
        catch (Exception e) when (IsUnreadable(e))
        {
            throw Unreadable(Origin, name, e);
        }
    }

    /// <summary>Closes the file.</summary>
    public void Dispose() => _file.Dispose();

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

using System.Collections.ObjectModel;
using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A safetensors file, memory-mapped: opening reads the header only, tensors are copied out when asked for. Safe for concurrent reads.
/// The header is checked against the file's length when it is opened; the file must not be shortened while it is open.
/// </summary>
public sealed class SafeTensorsFile : ITensorSource
{
    // A span counts its bytes in 31 bits, a tensor may have more: numbers are converted in pieces.
    private const int PieceElements = 1 << 20;

    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private readonly long _dataStart;
    private readonly Dictionary<string, SafeTensorsEntry> _entries;

    private SafeTensorsFile(string path, MemoryMappedFile map, MemoryMappedViewAccessor view, long dataStart, SafeTensorsHeader header)
    {
        (Origin, _map, _view, _dataStart, Metadata) = (path, map, view, dataStart, header.Metadata);
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
        MemoryMappedFile? map = null;
        MemoryMappedViewAccessor? view = null;
        try
        {
            FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            long length = stream.Length;
            if (length < SafeTensorsHeader.PrefixLength)
            {
                stream.Dispose();
                throw new ModelFormatException(path, null, $"a safetensors file has at least {SafeTensorsHeader.PrefixLength} bytes, found {length}");
            }

            map = MapOwning(stream, length);
            view = map.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
            Span<byte> prefix = stackalloc byte[SafeTensorsHeader.PrefixLength];
            view.SafeMemoryMappedViewHandle.ReadSpan(0, prefix);
            int headerLength = SafeTensorsHeader.ReadLength(path, prefix);
            long dataStart = SafeTensorsHeader.PrefixLength + (long)headerLength;
            if (dataStart > length) throw new ModelFormatException(path, null, $"a header of {headerLength} bytes does not fit in a file of {length}");
            byte[] json = new byte[headerLength];
            view.SafeMemoryMappedViewHandle.ReadSpan<byte>(SafeTensorsHeader.PrefixLength, json);
            SafeTensorsHeader header = SafeTensorsHeader.Parse(path, json, length - dataStart);
            return new SafeTensorsFile(path, map, view, dataStart, header);
        }
        catch (Exception e)
        {
            view?.Dispose();
            map?.Dispose();
            if (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
                throw new ModelFormatException(path, null, System.IO.File.Exists(path) ? $"cannot be read: {e.Message}" : "no such file", e);
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
        DType type = entry.Info.DType;
        float[] values = entry.Info.AllocateSingles(Origin);
        int size = DTypes.Size(type);
        for (int done = 0; done < values.Length; done += PieceElements)
        {
            Span<float> piece = values.AsSpan(done, Math.Min(PieceElements, values.Length - done));
            WithBytes(entry, (long)done * size, piece.Length * size, piece, static (bytes, destination, type) => TensorConversion.ToSingles(type, bytes, destination), type);
        }

        return values;
    }

    /// <summary>Unmaps the file.</summary>
    public void Dispose()
    {
        _view.Dispose();
        _map.Dispose();
    }

    private static MemoryMappedFile MapOwning(FileStream stream, long length)
    {
        try
        {
            return MemoryMappedFile.CreateFromFile(stream, null, length, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    private SafeTensorsEntry Entry(string name)
        => _entries.TryGetValue(name, out SafeTensorsEntry entry) ? entry : throw new ModelFormatException(Origin, name, "no such tensor");

    private void Read(SafeTensorsEntry entry, long offset, Span<byte> destination)
        => WithBytes(entry, offset, destination.Length, destination, static (bytes, destination, _) => bytes.CopyTo(destination), 0);

    private delegate void Consumer<T, TState>(ReadOnlySpan<byte> bytes, Span<T> destination, TState state);

    // The pointer is held while the bytes are read, so that a concurrent Dispose unmaps afterwards. SafeBuffer's own ReadSpan is safe too, but copies byte by byte.
    private unsafe void WithBytes<T, TState>(SafeTensorsEntry entry, long offset, int length, Span<T> destination, Consumer<T, TState> consume, TState state)
    {
        if (offset < 0 || length > entry.Length - offset) throw new ArgumentOutOfRangeException(nameof(offset), $"{length} bytes at {offset} are outside '{entry.Info.Name}' of {entry.Length}");
        SafeMemoryMappedViewHandle handle = _view.SafeMemoryMappedViewHandle;
        byte* start = null;
        try
        {
            handle.AcquirePointer(ref start);
            consume(new ReadOnlySpan<byte>(start + _view.PointerOffset + _dataStart + entry.Begin + offset, length), destination, state);
        }
        finally
        {
            if (start is not null) handle.ReleasePointer();
        }
    }
}

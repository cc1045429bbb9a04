using System.Collections.ObjectModel;
using System.IO.Compression;
using System.Text;

namespace LowBitDiffusion.Formats.Checkpoints.Torch;

/// <summary>
/// The tensors of a PyTorch checkpoint (<c>.ckpt</c>, <c>.pth</c>, <c>.pt</c>, <c>.bin</c>), read without executing anything. Such a file is a zip archive of uncompressed entries:
/// <code>
///   name/data.pkl      a pickle: dictionaries of tensors, which refer to
///   name/data/0 …      storages, raw elements that one or several tensors look at
///   name/byteorder     "little", if it is there
/// </code>
/// Names of nested dictionaries are joined with dots: <c>state_dict.model.conv.weight</c>. What is neither a tensor nor a dictionary or list of them is ignored. A file from before
/// PyTorch 1.6, which is no archive, is refused. Safe for concurrent reads.
/// </summary>
public sealed class TorchArchive : ITensorSource
{
    // A pickle holds names and shapes: those of the largest published models take less than a megabyte.
    private const long MaxPickleLength = 256L << 20;

    // Values are counted as often as they are met: a container that holds another one twice, and so on, meets the last exponentially often.
    private const int MaxDepth = 32, MaxValues = 4_000_000, MaxTensors = 1 << 18, MaxNameLength = 512;

    private readonly ZipArchive _archive;
    private readonly Dictionary<string, TorchTensor> _views = [];
    private readonly Dictionary<string, ZipArchiveEntry> _storages = [];
    private readonly Lock _lock = new();

    private TorchArchive(string path, ZipArchive archive)
    {
        (Origin, _archive) = (path, archive);
        ZipArchiveEntry pickle = archive.Entries.FirstOrDefault(entry => entry.FullName.EndsWith("/data.pkl", StringComparison.Ordinal))
            ?? throw new ModelFormatException(path, null, "expected an archive of PyTorch with an entry data.pkl, found none");
        string root = pickle.FullName[..^"data.pkl".Length];
        if (archive.GetEntry($"{root}byteorder") is { } order && Encoding.ASCII.GetString(ReadEntry(order, 64)) is not "little" and var found)
            throw new ModelFormatException(path, "byteorder", $"expected little, found {found}");
        foreach (ZipArchiveEntry entry in archive.Entries.Where(entry => entry.FullName.StartsWith($"{root}data/", StringComparison.Ordinal)))
            _storages.TryAdd(entry.FullName[$"{root}data/".Length..], entry);

        Dictionary<string, TensorInfo> tensors = [];
        Dictionary<string, long> integers = [];
        Flatten(new PickleReader(path, ReadEntry(pickle, MaxPickleLength)).Read(), tensors, integers);
        Tensors = new ReadOnlyDictionary<string, TensorInfo>(tensors);
        Integers = new ReadOnlyDictionary<string, long>(integers);
    }

    /// <inheritdoc/>
    public string Origin { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>Plain integers of the outermost dictionary, by name: <c>global_step</c>, <c>epoch</c>.</summary>
    public IReadOnlyDictionary<string, long> Integers { get; }

    /// <summary>Whether a file begins like a checkpoint of PyTorch, of either kind.</summary>
    /// <exception cref="ModelFormatException">There is no such file, or it cannot be read.</exception>
    public static bool IsTorch(string path) => Begins(path) is [(byte)'P', (byte)'K', ..] or [0x80, <= 5, ..];

    /// <summary>Opens a checkpoint and reads its names and shapes.</summary>
    /// <exception cref="ModelFormatException">
    /// The file is missing, damaged, from before PyTorch 1.6, from a big-endian machine, or asks for anything but tensors; the message names what.
    /// </exception>
    public static TorchArchive Open(string path)
    {
        if (Begins(path) is [0x80, ..])
            throw new ModelFormatException(path, null, "is a checkpoint of PyTorch before 1.6, which is not supported: load and save it again with a newer version");
        ZipArchive? archive = null;
        try
        {
            archive = new ZipArchive(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read), ZipArchiveMode.Read, leaveOpen: false);
            return new TorchArchive(path, archive);
        }
        catch (Exception e)
        {
            archive?.Dispose();
            if (IsUnreadable(e)) throw new ModelFormatException(path, null, $"is a damaged archive: {e.Message}", e);
            throw;
        }
    }

    /// <inheritdoc/>
    public void ReadRange(string name, long byteOffset, Span<byte> destination)
    {
        TensorInfo info = this.Find(name);
        ArgumentOutOfRangeException.ThrowIfNegative(byteOffset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(byteOffset, info.ByteLength - destination.Length);
        TorchTensor view = _views[name];
        if (view.IsContiguous)
        {
            ReadStorage(name, view, byteOffset, destination);
            return;
        }

        long span = view.Span * DTypes.Size(info.DType);
        if (span > Array.MaxLength) throw new ModelFormatException(Origin, name, $"its elements are spread over {span} bytes, which do not fit in one array");
        byte[] storage = new byte[span];
        ReadStorage(name, view, 0, storage);
        view.Gather(storage).AsSpan((int)byteOffset, destination.Length).CopyTo(destination);
    }

    /// <summary>Closes the file.</summary>
    public void Dispose()
    {
        lock (_lock) _archive.Dispose();
    }

    private void Flatten(object? root, Dictionary<string, TensorInfo> tensors, Dictionary<string, long> integers)
    {
        int left = MaxValues;
        Visit("", root, 0);

        void Visit(string name, object? value, int depth)
        {
            if (--left < 0 || depth > MaxDepth || tensors.Count > MaxTensors || name.Length > MaxNameLength)
                throw new ModelFormatException(Origin, null, $"expected at most {MaxValues} values, {MaxTensors} tensors, names of {MaxNameLength} characters and {MaxDepth} levels, found more");
            switch (value)
            {
                case TorchTensor tensor: Add(name, tensor, tensors); break;
                case long integer when depth == 1: integers.TryAdd(name, integer); break;
                case PickleDictionary dictionary:
                    foreach ((string key, object? entry) in dictionary.Entries) Visit(Join(name, key), entry, depth + 1);
                    break;
                case IEnumerable<object?> list:
                    int index = 0;
                    foreach (object? entry in list) Visit(Join(name, FormattableString.Invariant($"{index++}")), entry, depth + 1);
                    break;
            }
        }
    }

    private static string Join(string outer, string inner) => outer.Length == 0 ? inner : $"{outer}.{inner}";

    private void Add(string name, TorchTensor tensor, Dictionary<string, TensorInfo> tensors)
    {
        if (tensor.Problem() is { } problem) throw new ModelFormatException(Origin, name, problem);
        TorchStorage storage = tensor.Storage;
        if (!_storages.TryGetValue(storage.Key, out ZipArchiveEntry? entry)) throw new ModelFormatException(Origin, name, $"its storage '{storage.Key}' is missing");
        int size = DTypes.Size(storage.Type);
        if (entry.CompressedLength != entry.Length) throw new ModelFormatException(Origin, name, "its storage is compressed, which PyTorch never does");
        if (storage.Elements > entry.Length / size) throw new ModelFormatException(Origin, name, $"expected {storage.Elements} elements of {storage.Type} in its storage, found {entry.Length} bytes");
        if (!tensors.TryAdd(name, new TensorInfo(name, storage.Type, tensor.Shape))) throw new ModelFormatException(Origin, name, "is there twice");
        _views.Add(name, tensor);
    }

    private void ReadStorage(string name, TorchTensor view, long byteOffset, Span<byte> destination)
    {
        long start = view.Offset * DTypes.Size(view.Storage.Type) + byteOffset;
        lock (_lock)
        {
            try
            {
                using Stream stream = _storages[view.Storage.Key].Open();
                Advance(stream, start);
                stream.ReadExactly(destination);
            }
            catch (Exception e) when (IsUnreadable(e))
            {
                throw new ModelFormatException(Origin, name, $"its storage cannot be read: {e.Message}", e);
            }
        }
    }

    private static void Advance(Stream stream, long bytes)
    {
        if (stream.CanSeek)
        {
            stream.Position = bytes;
            return;
        }

        byte[] passed = new byte[Math.Min(bytes, 1 << 16)];
        while (bytes > 0)
        {
            int piece = (int)Math.Min(bytes, passed.Length);
            stream.ReadExactly(passed.AsSpan(0, piece));
            bytes -= piece;
        }
    }

    private byte[] ReadEntry(ZipArchiveEntry entry, long limit)
    {
        if (entry.Length > limit || entry.CompressedLength != entry.Length)
            throw new ModelFormatException(Origin, entry.FullName, $"expected at most {limit} bytes, not compressed, found {entry.Length} in {entry.CompressedLength}");
        byte[] bytes = new byte[entry.Length];
        using Stream stream = entry.Open();
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static byte[] Begins(string path)
    {
        try
        {
            using FileStream stream = new(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            byte[] start = new byte[2];
            return start[..stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new ModelFormatException(path, null, File.Exists(path) ? $"cannot be read: {e.Message}" : "no such file", e);
        }
    }

    private static bool IsUnreadable(Exception e) => e is IOException or InvalidDataException or UnauthorizedAccessException or NotSupportedException or ArgumentException or OverflowException;
}

using System.IO.Compression;
using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>An archive as PyTorch's <c>save</c> writes it.</summary>
internal sealed class TorchFile
{
    private readonly List<byte[]> _storages = [];

    /// <summary>The pickle: one value.</summary>
    public PickleWriter Pickle { get; } = new();

    /// <summary>Content of the entry <c>byteorder</c>, or null for none.</summary>
    public string? ByteOrder { get; init; } = "little";

    /// <summary>Compresses entries, which PyTorch does not.</summary>
    public bool Compressed { get; init; }

    /// <summary>Adds a storage and gives its key.</summary>
    public string Storage(byte[] bytes)
    {
        _storages.Add(bytes);
        return $"{_storages.Count - 1}";
    }

    /// <summary>Writes a tensor that has a storage of its own into the pickle.</summary>
    public void Tensor(PickleWriter pickle, TensorInfo info, byte[] bytes)
    {
        string type = info.DType switch { DType.F32 => "FloatStorage", DType.F16 => "HalfStorage", DType.BF16 => "BFloat16Storage", _ => "LongStorage" };
        pickle.Tensor(type, Storage(bytes), info.Elements, 0, [.. info.Shape], Strides(info.Shape));
    }

    public static long[] Strides(IReadOnlyList<long> shape) => [.. Enumerable.Range(0, shape.Count).Select(axis => shape.Skip(axis + 1).Aggregate(1L, (product, extent) => product * extent))];

    public string Write(string path)
    {
        File.WriteAllBytes(path, ToArray());
        return path;
    }

    public byte[] ToArray()
    {
        using MemoryStream stream = new();
        using (ZipArchive archive = new(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            Add(archive, "model/data.pkl", Pickle.ToArray());
            if (ByteOrder is { } order) Add(archive, "model/byteorder", System.Text.Encoding.ASCII.GetBytes(order));
            for (int i = 0; i < _storages.Count; i++) Add(archive, $"model/data/{i}", _storages[i]);
            Add(archive, "model/version", "3\n"u8.ToArray());
        }

        return stream.ToArray();
    }

    private void Add(ZipArchive archive, string name, byte[] bytes)
    {
        using Stream entry = archive.CreateEntry(name, Compressed ? CompressionLevel.Optimal : CompressionLevel.NoCompression).Open();
        entry.Write(bytes);
    }
}

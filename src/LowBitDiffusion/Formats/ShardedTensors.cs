using System.Collections.ObjectModel;

namespace LowBitDiffusion.Formats;

/// <summary>
/// Tensors spread over several safetensors files by an index, as diffusers and transformers write large models:
/// <c>{"metadata": {…}, "weight_map": {tensor: file}}</c>, the files beside the index. Safe for concurrent reads.
/// </summary>
public sealed class ShardedTensors : ITensorSource
{
    private readonly Dictionary<string, SafeTensorsFile> _shards;
    private readonly Dictionary<string, SafeTensorsFile> _fileOf;

    private ShardedTensors(string index, Dictionary<string, SafeTensorsFile> shards, Dictionary<string, SafeTensorsFile> fileOf)
    {
        (Origin, _shards, _fileOf) = (index, shards, fileOf);
        Tensors = new ReadOnlyDictionary<string, TensorInfo>(fileOf.ToDictionary(pair => pair.Key, pair => pair.Value.Tensors[pair.Key]));
    }

    /// <inheritdoc/>
    public string Origin { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>Opens the index and all its files, and checks that they say the same of every tensor.</summary>
    /// <param name="indexPath">The <c>…safetensors.index.json</c>.</param>
    /// <exception cref="ModelFormatException">
    /// The index or a file is missing or damaged; a file's name leads out of the folder; a tensor is not in the file the index names, is in several files, or is not
    /// in the index.
    /// </exception>
    public static ShardedTensors Open(string indexPath)
    {
        JsonConfig map = JsonConfig.Open(indexPath).GetObject("weight_map") ?? throw new ModelFormatException(indexPath, "weight_map", "no such key");
        string folder = Path.GetDirectoryName(Path.GetFullPath(indexPath))!;
        Dictionary<string, SafeTensorsFile> shards = [];
        try
        {
            Dictionary<string, SafeTensorsFile> fileOf = [];
            foreach (string tensor in map.Keys)
            {
                string name = map.GetString(tensor);
                if (!IsPlainName(name)) throw new ModelFormatException(indexPath, tensor, $"expected the name of a file beside the index, found '{name}'");
                if (!shards.TryGetValue(name, out SafeTensorsFile? shard)) shards.Add(name, shard = SafeTensorsFile.Open(Path.Combine(folder, name)));
                fileOf.Add(tensor, shard);
            }

            foreach ((string tensor, SafeTensorsFile shard) in fileOf) shard.Find(tensor);
            foreach (SafeTensorsFile shard in shards.Values)
            {
                foreach (string tensor in shard.Tensors.Keys)
                {
                    if (!fileOf.TryGetValue(tensor, out SafeTensorsFile? listed)) throw new ModelFormatException(shard.Origin, tensor, $"is not in the index {indexPath}");
                    if (listed != shard) throw new ModelFormatException(shard.Origin, tensor, $"is also in {listed.Origin}");
                }
            }

            return new ShardedTensors(indexPath, shards, fileOf);
        }
        catch
        {
            foreach (SafeTensorsFile shard in shards.Values) shard.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void ReadRange(string name, long byteOffset, Span<byte> destination) => FileOf(name).ReadRange(name, byteOffset, destination);

    /// <summary>Closes all files.</summary>
    public void Dispose()
    {
        foreach (SafeTensorsFile shard in _shards.Values) shard.Dispose();
    }

    /// <summary>Whether a name that a file gives is that of something in the same folder, on every system.</summary>
    internal static bool IsPlainName(string name) => name.Length > 0 && name is not ("." or "..") && name.IndexOfAny(['/', '\\', ':', '\0']) < 0;

    private SafeTensorsFile FileOf(string name)
        => _fileOf.TryGetValue(name, out SafeTensorsFile? file) ? file : throw new ModelFormatException(Origin, name, "no such tensor");
}

using System.Collections.ObjectModel;

namespace LowBitDiffusion.Formats;

/// <summary>Some tensors of another source under other names: a selection, or a file with old names read with the new ones. Does not own the source.</summary>
public sealed class RenamedTensors : ITensorSource
{
    private readonly ITensorSource _source;
    private readonly IReadOnlyDictionary<string, string> _names;

    /// <summary>Creates the view.</summary>
    /// <param name="source">Where the tensors are.</param>
    /// <param name="names">The source's name for every name of the view.</param>
    /// <exception cref="ModelFormatException">The source has no such tensor.</exception>
    public RenamedTensors(ITensorSource source, IReadOnlyDictionary<string, string> names)
    {
        (_source, _names) = (source, names);
        Tensors = new ReadOnlyDictionary<string, TensorInfo>(names.ToDictionary(pair => pair.Key, pair => source.Find(pair.Value) with { Name = pair.Key }));
    }

    /// <inheritdoc/>
    public string Origin => _source.Origin;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <inheritdoc/>
    public void ReadRange(string name, long byteOffset, Span<byte> destination) => _source.ReadRange(Source(name), byteOffset, destination);

    /// <summary>Does nothing: the source is its owner's to close.</summary>
    public void Dispose()
    {
    }

    private string Source(string name) => _names.TryGetValue(name, out string? source) ? source : throw new ModelFormatException(Origin, name, "no such tensor");
}

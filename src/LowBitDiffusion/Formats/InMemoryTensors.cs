using System.Collections.ObjectModel;

namespace LowBitDiffusion.Formats;

/// <summary>Tensors made by code. Safe for concurrent reads once nothing is added any more.</summary>
public sealed class InMemoryTensors : ITensorSource
{
    private readonly Dictionary<string, TensorInfo> _tensors = [];
    private readonly Dictionary<string, byte[]> _bytes = [];

    /// <summary>Creates an empty set of tensors.</summary>
    /// <param name="origin">What messages call it.</param>
    public InMemoryTensors(string origin = "memory") => (Origin, Tensors) = (origin, new ReadOnlyDictionary<string, TensorInfo>(_tensors));

    /// <inheritdoc/>
    public string Origin { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>Adds an F32 tensor; the values are copied.</summary>
    /// <exception cref="ArgumentException">The name is taken, or the shape needs another number of values.</exception>
    public InMemoryTensors Add(string name, IReadOnlyList<long> shape, ReadOnlySpan<float> values)
        => AddBytes(new TensorInfo(name, DType.F32, shape), TensorConversion.FromSingles(DType.F32, values));

    /// <summary>Adds a tensor of any type; the bytes are kept, not copied.</summary>
    /// <exception cref="ArgumentException">The name is taken, or type and shape need another number of bytes.</exception>
    public InMemoryTensors AddBytes(TensorInfo info, byte[] bytes)
    {
        if (bytes.Length != info.ByteLength)
            throw new ArgumentException($"'{info.Name}': shape {info.ShapeText} of {info.TypeName} needs {info.ByteLength} bytes, found {bytes.Length}", nameof(bytes));
        _tensors.Add(info.Name, info);
        _bytes.Add(info.Name, bytes);
        return this;
    }

    /// <inheritdoc/>
    public void ReadRange(string name, long byteOffset, Span<byte> destination)
    {
        this.Find(name);
        byte[] bytes = _bytes[name];
        ArgumentOutOfRangeException.ThrowIfNegative(byteOffset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(byteOffset, bytes.Length - destination.Length);
        bytes.AsSpan((int)byteOffset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}

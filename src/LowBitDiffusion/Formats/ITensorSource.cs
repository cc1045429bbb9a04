namespace LowBitDiffusion.Formats;

/// <summary>Named tensors, wherever they live: one file, a sharded folder, memory. Row-major, little-endian.</summary>
public interface ITensorSource : IDisposable
{
    /// <summary>Where the tensors come from, for messages: a file or a folder.</summary>
    string Origin { get; }

    /// <summary>Every tensor by name.</summary>
    IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>Part of a tensor's bytes as they are stored; <see cref="TensorSourceExtensions"/> reads whole tensors with it, as bytes or as numbers.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="byteOffset">First byte, counted from the tensor's start.</param>
    /// <param name="destination">Filled completely.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the tensor.</exception>
    /// <exception cref="ModelFormatException">No such tensor, or its file cannot be read.</exception>
    void ReadRange(string name, long byteOffset, Span<byte> destination);
}

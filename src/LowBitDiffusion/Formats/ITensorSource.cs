namespace LowBitDiffusion.Formats;

/// <summary>Named tensors, wherever they live: one file, a sharded folder, memory. Row-major, little-endian.</summary>
public interface ITensorSource : IDisposable
{
    /// <summary>Where the tensors come from, for messages: a file or a folder.</summary>
    string Origin { get; }

    /// <summary>Every tensor by name.</summary>
    IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>The tensor's bytes as they are stored.</summary>
    /// <exception cref="ModelFormatException">No such tensor, or its file cannot be read.</exception>
    byte[] ReadBytes(string name);

    /// <summary>The tensor as single precision, converted from F16, BF16, F8, F32, F64 or an integer type.</summary>
    /// <exception cref="ModelFormatException">No such tensor, its type cannot be converted, or its file cannot be read.</exception>
    float[] ReadSingles(string name);

    /// <summary>The tensor's bytes as they are stored, into a buffer of exactly that length.</summary>
    /// <exception cref="ArgumentException">The buffer has another length than the tensor.</exception>
    /// <exception cref="ModelFormatException">No such tensor, or its file cannot be read.</exception>
    void ReadBytes(string name, Span<byte> destination)
    {
        long length = this.Find(name).ByteLength;
        if (destination.Length != length) throw new ArgumentException($"'{name}' has {length} bytes, the buffer {destination.Length}", nameof(destination));
        ReadRange(name, 0, destination);
    }

    /// <summary>Part of the tensor's stored bytes: rows of a tensor too large to hold at once.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="byteOffset">First byte, counted from the tensor's start.</param>
    /// <param name="destination">Filled completely.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the tensor.</exception>
    /// <exception cref="ModelFormatException">No such tensor, or its file cannot be read.</exception>
    void ReadRange(string name, long byteOffset, Span<byte> destination)
    {
        byte[] bytes = ReadBytes(name);
        ArgumentOutOfRangeException.ThrowIfNegative(byteOffset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(byteOffset, bytes.Length - destination.Length);
        bytes.AsSpan((int)byteOffset, destination.Length).CopyTo(destination);
    }
}

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
}

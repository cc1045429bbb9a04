using System.Buffers;
using System.Runtime.InteropServices;
using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Formats;

/// <summary>Reading whole tensors that must be there, as bytes or as numbers.</summary>
public static class TensorSourceExtensions
{
    // What is converted is read in pieces that a core's cache holds.
    private const int PieceBytes = 1 << 18;

    /// <summary>What the source says of a tensor that must be there.</summary>
    /// <exception cref="ModelFormatException">No such tensor.</exception>
    public static TensorInfo Find(this ITensorSource source, string name)
        => source.Tensors.TryGetValue(name, out TensorInfo? info) ? info : throw new ModelFormatException(source.Origin, name, "no such tensor");

    /// <summary>A tensor's bytes as they are stored.</summary>
    /// <exception cref="ModelFormatException">No such tensor, it is too large for an array, or its file cannot be read.</exception>
    public static byte[] ReadBytes(this ITensorSource source, string name)
    {
        byte[] bytes = source.Find(name).Allocate(source.Origin);
        source.ReadRange(name, 0, bytes);
        return bytes;
    }

    /// <summary>A tensor's bytes as they are stored, into a buffer of exactly that length.</summary>
    /// <exception cref="ArgumentException">The buffer has another length than the tensor.</exception>
    /// <exception cref="ModelFormatException">No such tensor, or its file cannot be read.</exception>
    public static void ReadBytes(this ITensorSource source, string name, Span<byte> destination)
    {
        long length = source.Find(name).ByteLength;
        if (destination.Length != length) throw new ArgumentException($"'{name}' has {length} bytes, the buffer {destination.Length}", nameof(destination));
        source.ReadRange(name, 0, destination);
    }

    /// <summary>A tensor as single precision, converted from F16, BF16, F8, F32, F64 or an integer type.</summary>
    /// <exception cref="ModelFormatException">No such tensor, its type cannot be converted, it is too large for an array, or its file cannot be read.</exception>
    public static float[] ReadSingles(this ITensorSource source, string name)
    {
        TensorInfo info = source.Find(name);
        if (info.Elements > Array.MaxLength) throw new ModelFormatException(source.Origin, name, $"its {info.Elements} elements do not fit in one array; read it in ranges");
        RequireNumbers(source, info);
        float[] values = new float[info.Elements];
        source.ReadSingles(name, values);
        return values;
    }

    /// <summary>A tensor as single precision, into a buffer of exactly its length.</summary>
    /// <exception cref="ArgumentException">The buffer has another length than the tensor.</exception>
    /// <exception cref="ModelFormatException">No such tensor, its type cannot be converted, or its file cannot be read.</exception>
    public static void ReadSingles(this ITensorSource source, string name, Span<float> destination)
    {
        TensorInfo info = source.Find(name);
        RequireNumbers(source, info);
        if (destination.Length != info.Elements) throw new ArgumentException($"'{name}' has {info.Elements} elements, the buffer {destination.Length}", nameof(destination));
        if (info.DType == DType.F32 && destination.Length <= int.MaxValue / sizeof(float))
        {
            source.ReadRange(name, 0, MemoryMarshal.AsBytes(destination));
            return;
        }

        int size = DTypes.Size(info.DType);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(PieceBytes);
        try
        {
            for (int done = 0; done < destination.Length;)
            {
                int count = Math.Min(PieceBytes / size, destination.Length - done);
                Span<byte> piece = buffer.AsSpan(0, count * size);
                source.ReadRange(name, (long)done * size, piece);
                TensorConversion.ToSingles(info.DType, piece, destination.Slice(done, count));
                done += count;
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>A tensor as single precision, its shape checked.</summary>
    /// <exception cref="ModelFormatException">No such tensor, another shape, a type that cannot be converted, or an unreadable file.</exception>
    public static float[] ReadSingles(this ITensorSource source, string name, TensorShape shape)
    {
        TensorInfo info = source.Find(name);
        if (!info.Shape.SequenceEqual(shape.Select(dimension => (long)dimension)))
            throw new ModelFormatException(source.Origin, name, $"expected shape {shape}, found {info.ShapeText}");
        return source.ReadSingles(name);
    }

    /// <summary>The bytes of a tensor that an array can hold.</summary>
    internal static byte[] Allocate(this TensorInfo info, string origin)
        => info.ByteLength <= Array.MaxLength
            ? new byte[info.ByteLength]
            : throw new ModelFormatException(origin, info.Name, $"its {info.ByteLength} bytes do not fit in one array; read it in ranges");

    private static void RequireNumbers(ITensorSource source, TensorInfo info)
    {
        if (info.DType == DType.Unknown) throw new ModelFormatException(source.Origin, info.Name, $"elements of type '{info.TypeName}' cannot be read as numbers");
    }
}

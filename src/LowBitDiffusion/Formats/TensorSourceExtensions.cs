using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Formats;

/// <summary>Reading tensors that must be there and must have a certain shape.</summary>
public static class TensorSourceExtensions
{
    /// <summary>What the source says of a tensor that must be there.</summary>
    /// <exception cref="ModelFormatException">No such tensor.</exception>
    public static TensorInfo Find(this ITensorSource source, string name)
        => source.Tensors.TryGetValue(name, out TensorInfo? info) ? info : throw new ModelFormatException(source.Origin, name, "no such tensor");

    /// <summary>The tensor as single precision, its shape checked.</summary>
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

    /// <summary>The elements of a tensor that an array can hold and that are numbers.</summary>
    internal static float[] AllocateSingles(this TensorInfo info, string origin)
    {
        if (info.DType == DType.Unknown) throw new ModelFormatException(origin, info.Name, $"elements of type '{info.TypeName}' cannot be read as numbers");
        return info.Elements <= Array.MaxLength
            ? new float[info.Elements]
            : throw new ModelFormatException(origin, info.Name, $"its {info.Elements} elements do not fit in one array; read it in ranges");
    }
}

namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>Sizes that a network's configuration follows from.</summary>
internal static class TensorExtents
{
    // Far above every network, far below what overflows when sizes are multiplied.
    private const long Largest = 1 << 20;

    /// <summary>One dimension of a tensor that must be there.</summary>
    /// <param name="tensors">Tensors by name.</param>
    /// <param name="origin">The file, for messages.</param>
    /// <param name="name">The tensor.</param>
    /// <param name="axis">The dimension.</param>
    /// <exception cref="ModelFormatException">There is no such tensor or dimension, or it is not a sensible size.</exception>
    public static int Extent(this IReadOnlyDictionary<string, TensorInfo> tensors, string origin, string name, int axis)
    {
        if (!tensors.TryGetValue(name, out TensorInfo? info)) throw new ModelFormatException(origin, name, "no such tensor");
        return info.Shape.Count > axis && info.Shape[axis] is > 0 and <= Largest
            ? (int)info.Shape[axis]
            : throw new ModelFormatException(origin, name, $"expected a dimension {axis} of 1 to {Largest}, found shape {info.ShapeText}");
    }
}

namespace LowBitDiffusion.Formats;

/// <summary>Tensors in another float type than they are stored in.</summary>
internal static class FloatStorage
{
    /// <summary>Whether elements are floats of a type that others can take the place of.</summary>
    public static bool IsFloat(DType type) => type is DType.F16 or DType.BF16 or DType.F32 or DType.F64;

    /// <summary>A tensor's bytes in a float type.</summary>
    /// <param name="source">Where the tensor is.</param>
    /// <param name="info">The tensor.</param>
    /// <param name="type">F32, F16 or BF16.</param>
    /// <exception cref="ModelFormatException">The tensor cannot be read.</exception>
    /// <exception cref="InvalidRequestException">A value is too large for F16.</exception>
    public static byte[] Read(ITensorSource source, TensorInfo info, DType type)
    {
        if (info.DType == type) return source.ReadBytes(info.Name);
        float[] values = source.ReadSingles(info.Name);
        if (type == DType.F16)
        {
            int index = Array.FindIndex(values, static value => float.IsFinite(value) && Half.IsInfinity((Half)value));
            if (index >= 0) throw new InvalidRequestException("floatType", FormattableString.Invariant($"'{info.Name}' holds {values[index]}, too large for F16"));
        }

        return TensorConversion.FromSingles(type, values);
    }
}

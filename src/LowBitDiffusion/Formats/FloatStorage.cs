namespace LowBitDiffusion.Formats;

/// <summary>Tensors in another float type than they are stored in.</summary>
internal static class FloatStorage
{
    // Tensors of any size pass through this much memory, and twice of it as numbers.
    private const int PieceBytes = 1 << 20;

    /// <summary>Whether elements are floats of a type that others can take the place of.</summary>
    public static bool IsFloat(DType type) => type is DType.F16 or DType.BF16 or DType.F32 or DType.F64;

    /// <summary>Copies a tensor into a file, piece by piece.</summary>
    /// <param name="source">Where the tensor is.</param>
    /// <param name="info">The tensor.</param>
    /// <param name="writer">Has a tensor of the same name.</param>
    /// <param name="type">That tensor's type: the stored one; or F32, F16 or BF16.</param>
    /// <exception cref="ModelFormatException">The tensor cannot be read.</exception>
    /// <exception cref="InvalidRequestException">A value is too large for F16.</exception>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public static void Copy(ITensorSource source, TensorInfo info, SafeTensorsWriter writer, DType type)
    {
        int size = Math.Max(DTypes.Size(info.DType), 1), whole = PieceBytes / size * size;
        byte[] stored = new byte[Math.Min(info.ByteLength, whole)];
        float[] values = info.DType == type ? [] : new float[stored.Length / size];
        byte[] converted = new byte[values.Length * DTypes.Size(type)];
        for (long done = 0; done < info.ByteLength; done += whole)
        {
            Span<byte> piece = stored.AsSpan(0, (int)Math.Min(info.ByteLength - done, whole));
            source.ReadRange(info.Name, done, piece);
            writer.Write(info.Name, info.DType == type ? piece : Converted(piece));
        }

        ReadOnlySpan<byte> Converted(ReadOnlySpan<byte> piece)
        {
            Span<float> numbers = values.AsSpan(0, piece.Length / size);
            TensorConversion.ToSingles(info.DType, piece, numbers);
            if (type == DType.F16) RequireHalves(info.Name, numbers);
            Span<byte> result = converted.AsSpan(0, numbers.Length * DTypes.Size(type));
            TensorConversion.FromSingles(type, numbers, result);
            return result;
        }
    }

    private static void RequireHalves(string name, ReadOnlySpan<float> values)
    {
        foreach (float value in values)
        {
            if (float.IsFinite(value) && Half.IsInfinity((Half)value)) throw new InvalidRequestException("floatType", FormattableString.Invariant($"'{name}' holds {value}, too large for F16"));
        }
    }
}

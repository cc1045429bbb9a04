using System.Collections.ObjectModel;

namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>
/// Tensors of another source under other names, in part or turned: what a network of another library made of them. Each is read from the source when it is asked for, and no
/// more of it than is needed. Owns the source.
/// </summary>
internal sealed class TensorViews : ITensorSource
{
    private readonly ITensorSource _source;
    private readonly Dictionary<string, (string Source, TensorChange Change)> _views;

    /// <summary>Creates the views.</summary>
    /// <param name="source">Where the tensors are.</param>
    /// <param name="views">For every new name the source's name and what changes.</param>
    /// <exception cref="ModelFormatException">The source has no such tensor, or it cannot be divided or turned in this way.</exception>
    public TensorViews(ITensorSource source, IReadOnlyDictionary<string, (string Source, TensorChange Change)> views)
    {
        (_source, _views) = (source, views.ToDictionary());
        Tensors = new ReadOnlyDictionary<string, TensorInfo>(views.ToDictionary(view => view.Key, view => Describe(view.Key, source.Find(view.Value.Source), view.Value.Change)));
    }

    /// <inheritdoc/>
    public string Origin => _source.Origin;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <inheritdoc/>
    public void ReadRange(string name, long byteOffset, Span<byte> destination)
    {
        TensorInfo info = this.Find(name);
        ArgumentOutOfRangeException.ThrowIfNegative(byteOffset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(byteOffset, info.ByteLength - destination.Length);
        (string source, TensorChange change) = _views[name];
        if (change == TensorChange.Transpose)
            Transposed(_source.ReadBytes(source), (int)info.Shape[0], (int)info.Shape[1], DTypes.Size(info.DType)).AsSpan((int)byteOffset, destination.Length).CopyTo(destination);
        else
            _source.ReadRange(source, Third(change) * info.ByteLength + byteOffset, destination);
    }

    /// <summary>Closes the source.</summary>
    public void Dispose() => _source.Dispose();

    private TensorInfo Describe(string name, TensorInfo info, TensorChange change)
    {
        IReadOnlyList<long> shape = info.Shape;
        switch (change)
        {
            case TensorChange.None:
                return info with { Name = name };
            case TensorChange.Transpose:
                Require(shape.Count == 2 && DTypes.Size(info.DType) > 0, "a matrix");
                return new TensorInfo(name, info.DType, [shape[1], shape[0]]);
            case TensorChange.Matrix:
                Require(shape.Count >= 2 && shape.Skip(2).All(extent => extent == 1), "a matrix or a 1x1 convolution");
                return info with { Name = name, Shape = [shape[0], shape[1]] };
            default:
                Require(shape.Count > 0 && shape[0] % 3 == 0 && DTypes.Size(info.DType) > 0, "queries, keys and values, a third of the rows each");
                return new TensorInfo(name, info.DType, [shape[0] / 3, .. shape.Skip(1)]);
        }

        void Require(bool holds, string expected)
        {
            if (!holds) throw new ModelFormatException(Origin, info.Name, $"expected {expected}, found shape {info.ShapeText} of {info.TypeName}");
        }
    }

    private static int Third(TensorChange change) => change switch { TensorChange.SecondThird => 1, TensorChange.LastThird => 2, _ => 0 };

    private static byte[] Transposed(byte[] source, int rows, int columns, int size)
    {
        byte[] result = new byte[source.Length];
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns; column++)
                source.AsSpan((column * rows + row) * size, size).CopyTo(result.AsSpan((row * columns + column) * size));
        }

        return result;
    }
}

using System.Collections;

namespace LowBitDiffusion.Graphs;

/// <summary>Dimensions of a value, outermost first: <c>[N, C, H, W]</c> images, <c>[N, L, C]</c> tokens, <c>[N, C]</c> vectors, <c>[N]</c> scalars per image.</summary>
public sealed class TensorShape : IReadOnlyList<int>, IEquatable<TensorShape>
{
    private readonly int[] _dimensions;

    /// <summary>Creates a shape.</summary>
    public TensorShape(params ReadOnlySpan<int> dimensions)
    {
        foreach (int dimension in dimensions) ArgumentOutOfRangeException.ThrowIfLessThan(dimension, 1);
        _dimensions = dimensions.ToArray();
    }

    /// <summary>How many dimensions there are.</summary>
    public int Rank => _dimensions.Length;

    /// <inheritdoc/>
    int IReadOnlyCollection<int>.Count => Rank;

    /// <summary>Dimension <paramref name="axis"/>; negative counts from the end.</summary>
    public int this[int axis] => _dimensions[axis < 0 ? axis + _dimensions.Length : axis];

    /// <summary>Product of all dimensions.</summary>
    public long Elements
    {
        get
        {
            long elements = 1;
            foreach (int dimension in _dimensions) elements = checked(elements * dimension);
            return elements;
        }
    }

    /// <summary>The axis that holds channels: 1 of an image, else the last.</summary>
    public int ChannelAxis => Rank == 4 ? 1 : Rank - 1;

    /// <summary>How many channels a pixel, token or vector has.</summary>
    public int Channels => _dimensions[ChannelAxis];

    /// <summary>Pixels or tokens of one image: H·W, L, or 1.</summary>
    public int Positions => Rank switch { 4 => _dimensions[2] * _dimensions[3], 3 => _dimensions[1], _ => 1 };

    /// <summary>This shape with another extent along one axis.</summary>
    public TensorShape With(int axis, int extent)
    {
        int[] dimensions = [.. _dimensions];
        dimensions[axis < 0 ? axis + Rank : axis] = extent;
        return new TensorShape(dimensions);
    }

    /// <inheritdoc/>
    public bool Equals(TensorShape? other) => other is not null && _dimensions.AsSpan().SequenceEqual(other._dimensions);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as TensorShape);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (int dimension in _dimensions) hash.Add(dimension);
        return hash.ToHashCode();
    }

    /// <inheritdoc/>
    public IEnumerator<int> GetEnumerator() => ((IEnumerable<int>)_dimensions).GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => _dimensions.GetEnumerator();

    /// <inheritdoc/>
    public override string ToString() => $"[{string.Join(", ", _dimensions)}]";
}

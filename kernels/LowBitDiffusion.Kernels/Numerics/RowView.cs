namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>Rows of floats in native memory: a row is a pixel, a token or an image's vector, and holds consecutive channels.</summary>
/// <param name="data">First element of the first row.</param>
/// <param name="stride">Distance between rows in elements; 0 where all rows are the same one.</param>
public readonly unsafe struct RowView(float* data, nint stride)
{
    /// <summary>First element of the first row.</summary>
    public readonly float* Data = data;

    /// <summary>Distance between rows in elements.</summary>
    public readonly nint Stride = stride;

    /// <summary>First element of a row.</summary>
    public float* Row(nint index) => Data + index * Stride;

    /// <summary>The same rows from a channel on.</summary>
    public RowView From(int channel) => new(Data + channel, Stride);
}

/// <summary>How many rows and channels an operation covers.</summary>
/// <param name="Batch">Images.</param>
/// <param name="RowsPerImage">Pixels or tokens of one image.</param>
/// <param name="Channels">Elements of a row.</param>
public readonly record struct RowShape(int Batch, int RowsPerImage, int Channels)
{
    /// <summary>Rows over the batch.</summary>
    public int Rows => Batch * RowsPerImage;
}

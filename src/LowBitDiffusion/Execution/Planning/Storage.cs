namespace LowBitDiffusion.Execution.Planning;

/// <summary>Where a value's floats are: rows (pixels, tokens, images) of channels in a region, NHWC. Views share the region.</summary>
/// <param name="Region">The memory.</param>
/// <param name="Rows">Rows: images × positions.</param>
/// <param name="Channels">Floats of one row that belong to the value.</param>
/// <param name="Stride">Floats from one row to the next.</param>
/// <param name="Offset">Floats before the first row's first channel.</param>
internal readonly record struct Storage(Region Region, int Rows, int Channels, int Stride, int Offset)
{
    /// <summary>Whether the rows follow each other without gaps.</summary>
    public bool IsDense => Stride == Channels;
}

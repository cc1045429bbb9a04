namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>
/// One axis of an image that is stored smaller than a convolution sees it: nearest-neighbour upsampling, with the border outside of it. Border positions are all alike, so one of them is stored.
/// <code>
///   seen      b b │ 0 0 1 1 2 2 │ b        position p stands for stored position  Min(Before, 1) + ⌊(p − Before)·Source/Size⌋
///   stored      b │ 0   1   2   │ b
/// </code>
/// </summary>
/// <param name="Source">Positions of the image before upsampling.</param>
/// <param name="Size">Positions after it.</param>
/// <param name="Before">Border positions that are seen before it.</param>
/// <param name="After">Border positions that are seen behind it.</param>
public readonly record struct UpsampledAxis(int Source, int Size, int Before, int After)
{
    /// <summary>Positions that are seen, border included.</summary>
    public int Seen => Before + Size + After;

    /// <summary>Positions that are stored, border included.</summary>
    public int Stored => Math.Min(Before, 1) + Source + Math.Min(After, 1);

    /// <summary>The stored position that a seen one stands for.</summary>
    public int At(int position) =>
        position < Before ? 0 : position >= Before + Size ? Stored - 1 : Math.Min(Before, 1) + (int)((long)(position - Before) * Source / Size);
}

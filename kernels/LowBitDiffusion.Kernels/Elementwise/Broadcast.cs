namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Which row of the second operand belongs to a row of the first.</summary>
public enum Broadcast
{
    /// <summary>The same row.</summary>
    None,

    /// <summary>One row per image; a stride of 0 makes it one row for all.</summary>
    PerImage,

    /// <summary>The row's number within its image: a table shared by the batch.</summary>
    Table,
}

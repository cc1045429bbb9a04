using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>
/// <c>softmax(q kᵀ·Scale + mask) v</c> for every image and head. Rows are tokens, image after image; head h of a row is the channels
/// <c>[h·HeadWidth, (h + 1)·HeadWidth)</c>.
/// </summary>
public unsafe struct AttentionJob
{
    /// <summary>Images.</summary>
    public int Batch;

    /// <summary>Heads.</summary>
    public int Heads;

    /// <summary>Tokens of an image that ask.</summary>
    public int Queries;

    /// <summary>Tokens of an image that are looked at.</summary>
    public int Keys;

    /// <summary>Channels of a head of queries and keys.</summary>
    public int HeadWidth;

    /// <summary>Channels of a head of values and output.</summary>
    public int ValueWidth;

    /// <summary>Queries <c>[Batch·Queries][Heads·HeadWidth]</c>.</summary>
    public RowView Query;

    /// <summary>Keys <c>[Batch·Keys][Heads·HeadWidth]</c>.</summary>
    public RowView Key;

    /// <summary>Values <c>[Batch·Keys][Heads·ValueWidth]</c>.</summary>
    public RowView Value;

    /// <summary>Output <c>[Batch·Queries][Heads·ValueWidth]</c>; must not overlap the inputs.</summary>
    public RowView Output;

    /// <summary>Factor on <c>q kᵀ</c>, usually 1/√HeadWidth.</summary>
    public float Scale;

    /// <summary>Query i sees keys 0 … i only.</summary>
    public bool Causal;

    /// <summary>Added to the scores of each image's keys <c>[Batch][Keys]</c>, or null.</summary>
    public float* Mask;

    /// <summary>Distance between the images' rows of <see cref="Mask"/> in elements; 0 for one row for all images.</summary>
    public nint MaskStride;
}

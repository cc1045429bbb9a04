using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Quantizer.Autograd.Operations;

/// <summary>Which row of a second operand meets each row of the first: the same one, its image's (a vector <c>[N, C]</c>), its position's (a table <c>[1, L, C]</c>), or the only one.</summary>
internal readonly struct Broadcast
{
    private readonly int _perImage;
    private readonly int _rows;

    public Broadcast(TensorShape x, TensorShape y)
    {
        Channels = x.Channels;
        XRows = (int)(x.Elements / x.Channels);
        _rows = (int)(y.Elements / y.Channels);
        IsWhole = y.Equals(x);
        // A table repeats from image to image; a vector stays for all rows of an image.
        _perImage = y.Rank == 2 ? XRows / _rows : 1;
    }

    /// <summary>Whether the operands have one shape.</summary>
    public bool IsWhole { get; }

    /// <summary>Elements of a row.</summary>
    public int Channels { get; }

    /// <summary>Rows of the first operand.</summary>
    public int XRows { get; }

    /// <summary>The second operand's row for a row of the first.</summary>
    public int Row(int row) => row / _perImage % _rows;

    /// <summary>The elements that meet a row of the first operand.</summary>
    public ReadOnlySpan<float> Of(float[] y, int row) => y.AsSpan(Row(row) * Channels, Channels);

    /// <summary>Sum of a gradient's rows over those that met each row of the second operand, in order.</summary>
    public float[] Reduce(WorkerPool pool, float[] gradient)
    {
        if (IsWhole) return gradient;
        (int perImage, int rows, int channels, int total) = (_perImage, _rows, Channels, XRows);
        float[] sums = new float[rows * channels];
        pool.Chunks(rows, 1, (target, _) =>
        {
            Span<float> sum = sums.AsSpan(target * channels, channels);
            for (int block = target * perImage; block < total; block += rows * perImage)
            {
                for (int row = block; row < block + perImage; row++) Vectors.Map(sum, gradient.AsSpan(row * channels, channels), default, sum, new Sum());
            }
        });
        return sums;
    }
}

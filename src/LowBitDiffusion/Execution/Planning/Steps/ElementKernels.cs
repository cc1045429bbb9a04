using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Execution.Planning;

/// <summary>What an <see cref="ElementStep"/> works with where it has a form both here and on a device: rows, and the operations on them.</summary>
/// <typeparam name="TRows">Rows in that place.</typeparam>
internal interface IElementKernels<TRows>
{
    /// <summary>The rows of a value.</summary>
    TRows Rows(in Storage storage);

    /// <summary>One row for all.</summary>
    TRows Repeated(TRows row);

    /// <summary><c>x + y</c>.</summary>
    void Add(in RowShape shape, TRows x, TRows y, Broadcast broadcast, TRows output);

    /// <summary><c>x·y</c>.</summary>
    void Multiply(in RowShape shape, TRows x, TRows y, Broadcast broadcast, TRows output);

    /// <summary><c>x / divisor[image]</c>.</summary>
    void Divide(in RowShape shape, TRows x, TRows divisor, TRows output);

    /// <summary><c>factor·x + offset</c>.</summary>
    void Affine(in RowShape shape, TRows x, float factor, float offset, TRows output);

    /// <summary>x between two bounds.</summary>
    void Clamp(in RowShape shape, TRows x, float minimum, float maximum, TRows output);

    /// <summary>The rows of the step's own table.</summary>
    void CopyTable(in RowShape shape, TRows output);

    /// <summary>First half of a row times GELU of its second half.</summary>
    void Geglu(in RowShape shape, TRows x, TRows output);

    /// <summary>Mean over 2×2 blocks of images of <paramref name="height"/> × <paramref name="width"/>.</summary>
    void AveragePool(in RowShape shape, int height, int width, TRows x, TRows output);

    /// <summary>Tokens of square patches to an image of <paramref name="height"/> × <paramref name="width"/>.</summary>
    void Unpatchify(in RowShape shape, int patch, int height, int width, TRows x, TRows output);
}

/// <summary>The processor's.</summary>
internal readonly unsafe struct HostElements(PlanContext context, float* table) : IElementKernels<RowView>
{
    public RowView Rows(in Storage storage) => context.View(storage);

    public RowView Repeated(RowView row) => new(row.Data, 0);

    public void Add(in RowShape shape, RowView x, RowView y, Broadcast broadcast, RowView output) => Arithmetic.Add(context.Pool, shape, x, y, broadcast, output);

    public void Multiply(in RowShape shape, RowView x, RowView y, Broadcast broadcast, RowView output) => Arithmetic.Multiply(context.Pool, shape, x, y, broadcast, output);

    public void Divide(in RowShape shape, RowView x, RowView divisor, RowView output) => Arithmetic.Divide(context.Pool, shape, x, divisor.Data, output);

    public void Affine(in RowShape shape, RowView x, float factor, float offset, RowView output) => Arithmetic.Affine(context.Pool, shape, x, factor, offset, output);

    // Runs on the few values of an autoencoder's moments.
    public void Clamp(in RowShape shape, RowView x, float minimum, float maximum, RowView output)
    {
        for (int row = 0; row < shape.Rows; row++)
        {
            for (int c = 0; c < shape.Channels; c++) output.Row(row)[c] = Math.Clamp(x.Row(row)[c], minimum, maximum);
        }
    }

    public void CopyTable(in RowShape shape, RowView output) => Layout.Copy(context.Pool, shape, new RowView(table, shape.Channels), output);

    public void Geglu(in RowShape shape, RowView x, RowView output) => Activations.Geglu(context.Pool, shape, x, output);

    public void AveragePool(in RowShape shape, int height, int width, RowView x, RowView output) => Resampling.AveragePool(context.Pool, shape.Batch, height, width, shape.Channels, x, output);

    // A token holds its square row by row, the channels of a pixel side by side: in NHWC a row of the square is one run of memory.
    public void Unpatchify(in RowShape shape, int patch, int height, int width, RowView x, RowView output)
    {
        int columns = width / patch, run = patch * shape.Channels;
        for (int n = 0; n < shape.Batch; n++)
        {
            for (int row = 0; row < height; row++)
            {
                for (int column = 0; column < columns; column++)
                {
                    float* from = x.Row((n * (height / patch) + row / patch) * columns + column) + row % patch * run;
                    Buffer.MemoryCopy(from, output.Row((n * height + row) * width + column * patch), run * sizeof(float), run * sizeof(float));
                }
            }
        }
    }
}

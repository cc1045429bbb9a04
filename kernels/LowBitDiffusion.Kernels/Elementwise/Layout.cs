using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Moves elements without changing them.</summary>
public static unsafe class Layout
{
    private const int PieceElements = 16 << 10;

    /// <summary>Edge of the square blocks of a transpose: both sides of a block stay in the first cache.</summary>
    private const int Block = 16;

    /// <summary>Copies rows: a slice is a source that starts at a channel, a concatenation is one copy per part (<see cref="RowView.From"/>).</summary>
    public static void Copy(WorkerPool pool, in RowShape shape, RowView source, RowView destination)
    {
        int height = Math.Max(1, PieceElements / Math.Max(1, shape.Channels));
        pool.For((shape.Rows + height - 1) / height, new CopyBody(shape, source, destination, height));
    }

    /// <summary><c>[B, C, H·W] → [B, H·W, C]</c>.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Images, pixels of an image, channels.</param>
    /// <param name="source">Dense planes.</param>
    /// <param name="destination">One row per pixel.</param>
    public static void ToRows(WorkerPool pool, in RowShape shape, float* source, RowView destination) => Transpose(pool, shape, source, destination, true);

    /// <summary><c>[B, H·W, C] → [B, C, H·W]</c>.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Images, pixels of an image, channels.</param>
    /// <param name="source">One row per pixel.</param>
    /// <param name="destination">Dense planes.</param>
    public static void ToPlanes(WorkerPool pool, in RowShape shape, RowView source, float* destination) => Transpose(pool, shape, destination, source, false);

    /// <summary>Rows of a table by index.</summary>
    /// <param name="table">The table's rows.</param>
    /// <param name="tableRows">How many rows it has.</param>
    /// <param name="indices">One index per output row.</param>
    /// <param name="count">Output rows.</param>
    /// <param name="channels">Elements of a row.</param>
    /// <param name="output">Rows.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index is not a row of the table.</exception>
    public static void Gather(RowView table, int tableRows, int* indices, int count, int channels, RowView output)
    {
        for (int i = 0; i < count; i++)
        {
            if ((uint)indices[i] >= (uint)tableRows) throw new ArgumentOutOfRangeException(nameof(indices), indices[i], $"the table has {tableRows} rows");
            new ReadOnlySpan<float>(table.Row(indices[i]), channels).CopyTo(new Span<float>(output.Row(i), channels));
        }
    }

    private static void Transpose(WorkerPool pool, in RowShape shape, float* planes, RowView rows, bool toRows)
    {
        int strips = (shape.RowsPerImage + Block - 1) / Block;
        pool.For(shape.Batch * strips, new TransposeBody(shape, planes, rows, strips, toRows));
    }

    private readonly struct CopyBody(RowShape shape, RowView source, RowView destination, int height) : IParallelBody
    {
        public void Run(int index)
        {
            int last = Math.Min((index + 1) * height, shape.Rows);
            long bytes = (long)shape.Channels * sizeof(float);
            for (int row = index * height; row < last; row++) Buffer.MemoryCopy(source.Row(row), destination.Row(row), bytes, bytes);
        }
    }

    private readonly struct TransposeBody(RowShape shape, float* planes, RowView rows, int strips, bool toRows) : IParallelBody
    {
        public void Run(int index)
        {
            int image = index / strips, first = index % strips * Block, last = Math.Min(first + Block, shape.RowsPerImage);
            for (int channel = 0; channel < shape.Channels; channel += Block)
            {
                int channels = Math.Min(Block, shape.Channels - channel);
                float* plane = planes + (((nint)image * shape.Channels + channel) * shape.RowsPerImage) + first;
                float* pixel = rows.Row((nint)image * shape.RowsPerImage + first) + channel;
                if (toRows) Matrices.Transpose(plane, shape.RowsPerImage, channels, last - first, pixel, rows.Stride);
                else Matrices.Transpose(pixel, rows.Stride, last - first, channels, plane, shape.RowsPerImage);
            }
        }
    }
}

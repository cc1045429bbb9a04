using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Elementwise;

/// <summary>Moves elements without changing them.</summary>
public static unsafe class Layout
{
    /// <summary>Copies rows: a slice is a source that starts at a channel, a concatenation is one copy per part (<see cref="RowView.From"/>).</summary>
    public static void Copy(WorkerPool pool, in RowShape shape, RowView source, RowView destination) => throw new NotImplementedException();

    /// <summary><c>[B, C, H·W] → [B, H·W, C]</c>.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Images, pixels of an image, channels.</param>
    /// <param name="source">Dense planes.</param>
    /// <param name="destination">One row per pixel.</param>
    public static void ToRows(WorkerPool pool, in RowShape shape, float* source, RowView destination) => throw new NotImplementedException();

    /// <summary><c>[B, H·W, C] → [B, C, H·W]</c>.</summary>
    /// <param name="pool">Threads.</param>
    /// <param name="shape">Images, pixels of an image, channels.</param>
    /// <param name="source">One row per pixel.</param>
    /// <param name="destination">Dense planes.</param>
    public static void ToPlanes(WorkerPool pool, in RowShape shape, RowView source, float* destination) => throw new NotImplementedException();

    /// <summary>Rows of a table by index.</summary>
    /// <param name="table">The table's rows.</param>
    /// <param name="tableRows">How many rows it has.</param>
    /// <param name="indices">One index per output row.</param>
    /// <param name="count">Output rows.</param>
    /// <param name="channels">Elements of a row.</param>
    /// <param name="output">Rows.</param>
    /// <exception cref="ArgumentOutOfRangeException">An index is not a row of the table.</exception>
    public static void Gather(RowView table, int tableRows, int* indices, int count, int channels, RowView output) => throw new NotImplementedException();
}

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>How a convolution is cut into pieces of parallel work: row blocks × ranges of panels.</summary>
internal readonly struct TileSchedule
{
    /// <summary>Most rows of a block: their pointers lie on the stack.</summary>
    internal const int MaxBlockRows = 512;

    /// <summary>Input bytes of a row block: it shares the second-level cache with a panel of weights.</summary>
    private const int BlockBytes = 256 * 1024;

    /// <summary>Pieces per thread, so that a thread that is held up does not hold up the layer.</summary>
    private const int PiecesPerThread = 4;

    private readonly int _rows;
    private readonly int _panels;
    private readonly int _rowBlocks;
    private readonly int _panelBlocks;

    internal TileSchedule(in ConvGeometry geometry, int panels, int rowsPerTile, int threads)
    {
        _rows = geometry.Rows;
        _panels = panels;
        long rowBytes = (long)geometry.Channels * geometry.Stride * Math.Min(geometry.Stride, geometry.KernelHeight);
        int blockRows = (int)Math.Clamp(BlockBytes / rowBytes, rowsPerTile, MaxBlockRows / rowsPerTile * rowsPerTile);
        _rowBlocks = Ceiling(_rows, blockRows);
        _panelBlocks = 1;
        if (threads == 1) return;

        // Panels first: their weights are then read once. Rows only where there are too few panels, and never below a tile.
        int wanted = threads * PiecesPerThread;
        int tiles = Ceiling(_rows, rowsPerTile);
        if (_rowBlocks < wanted) _panelBlocks = EvenPanelBlocks(Ceiling(wanted, _rowBlocks), threads);
        if (Pieces < wanted) _rowBlocks = Math.Min(tiles, _rowBlocks * Ceiling(wanted, Pieces));
        if (_panelBlocks == 1) _rowBlocks = Math.Min(tiles, Ceiling(_rowBlocks, threads) * threads);
    }

    /// <summary>Number of pieces.</summary>
    internal int Pieces => _rowBlocks * _panelBlocks;

    /// <summary>Rows and panels of a piece, ends exclusive.</summary>
    internal (int FirstRow, int RowEnd, int FirstPanel, int PanelEnd) this[int piece]
    {
        get
        {
            (int rowBlock, int panelBlock) = Math.DivRem(piece, _panelBlocks);
            return (
                (int)((long)_rows * rowBlock / _rowBlocks), (int)((long)_rows * (rowBlock + 1) / _rowBlocks),
                (int)((long)_panels * panelBlock / _panelBlocks), (int)((long)_panels * (panelBlock + 1) / _panelBlocks));
        }
    }

    private static int Ceiling(int value, int divisor) => (value + divisor - 1) / divisor;

    /// <summary>
    /// The number of panel blocks, from <paramref name="least"/> to twice as many, with which the threads finish closest together: 10 panels in 4 blocks
    /// are pieces of 3 and 2, in 5 blocks all are 2.
    /// </summary>
    private int EvenPanelBlocks(int least, int threads)
    {
        int best = Math.Min(least, _panels), shortest = int.MaxValue;
        for (int blocks = best; blocks <= Math.Min(2 * least, _panels); blocks++)
        {
            int longest = Ceiling(_panels, blocks) * Ceiling(_rowBlocks * blocks, threads);
            if (longest < shortest) (best, shortest) = (blocks, longest);
        }

        return best;
    }
}

using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>One tile of integer sums: some rows of the output times one panel of output channels, over one segment.</summary>
internal unsafe struct SumTile
{
    /// <summary>For each row, its first input pixel.</summary>
    public byte** Rows;

    /// <summary>How many rows.</summary>
    public int RowCount;

    /// <summary>Offset of the segment from the pixel.</summary>
    public nint Offset;

    /// <summary>Runs of pixels under the kernel.</summary>
    public ConvRun* Runs;

    /// <summary>How many runs.</summary>
    public int RunCount;

    /// <summary>Groups of four in a pixel.</summary>
    public int Groups;

    /// <summary>Packed codes of the segment in this panel.</summary>
    public byte* Codes;

    /// <summary>Where two codes share a byte, the lowest code of each of the panel's channels; else null.</summary>
    public sbyte* Lowest;

    /// <summary>Largest magnitude of a code.</summary>
    public int MaxMagnitude;

    /// <summary>Where the sums go: rows of a panel's width.</summary>
    public int* Sums;
}

/// <summary>
/// The frame of all vector kernels: packed panels of output channels, tiles of rows, and the order in which they are visited.
/// <code>
///                panel 0      panel 1          one tile = up to RowsPerTile rows × one panel, its sums in registers
///             ┌────────────┬────────────┐
///   row block │ tile  ↓    │ tile  ↓    │      a row block's input stays in L2 while all panels of the piece pass over it,
///             │ tile  ↓    │ tile  ↓    │      a panel stays in L1/L2 while all tiles of the row block pass over it
///             └────────────┴────────────┘
/// </code>
/// A piece of parallel work is a row block times a range of panels.
/// </summary>
internal abstract unsafe class PanelQuantizedConv : QuantizedConvKernel
{
    /// <summary>Codes up to this magnitude fit two products into 16 bits: 255·64·2 ≤ 32767.</summary>
    private protected const int SmallCode = 64;

    /// <summary>Most rows of a tile, up to 8.</summary>
    internal abstract int RowsPerTile { get; }

    /// <summary>Computes the sums of one tile.</summary>
    private protected abstract void Multiply(in SumTile tile);

    /// <inheritdoc/>
    private protected override void Execute(WorkerPool pool, in QuantizedConvArguments arguments)
    {
        TileSchedule schedule = new(arguments.Geometry, arguments.Weights.Plan.Panels, RowsPerTile, pool.Threads);
        pool.For(schedule.Pieces, new Piece(this, arguments, schedule));
    }

    private readonly struct Piece(PanelQuantizedConv kernel, QuantizedConvArguments arguments, TileSchedule schedule) : IParallelBody
    {
        [SkipLocalsInit]
        public void Run(int index)
        {
            (int firstRow, int rowEnd, int firstPanel, int panelEnd) = schedule[index];
            byte** rows = stackalloc byte*[TileSchedule.MaxBlockRows];
            int* places = stackalloc int[TileSchedule.MaxBlockRows];
            arguments.Walk.Locate(arguments.Input, firstRow, rowEnd, rows, places);
            int width = kernel.PanelWidth;
            int* sums = stackalloc int[kernel.RowsPerTile * width];
            float* values = stackalloc float[kernel.RowsPerTile * width];
            for (int panel = firstPanel; panel < panelEnd; panel++)
            {
                foreach (ConvPhase phase in arguments.Walk.Phases)
                {
                    int first = Math.Max(firstRow, phase.FirstRow), count = Math.Min(rowEnd, phase.RowEnd) - first, tiles = (count + kernel.RowsPerTile - 1) / kernel.RowsPerTile;
                    for (int tile = 0; tile < tiles; tile++)
                    {
                        // Tiles of one block are as even as can be: 13 rows are 7 + 6, not 12 + 1.
                        int from = (int)((long)count * tile / tiles), to = (int)((long)count * (tile + 1) / tiles), at = first - firstRow + from;
                        RunTile(phase, rows + at, places + at, to - from, panel, sums, values);
                    }
                }
            }
        }

        private void RunTile(ConvPhase phase, byte** rows, int* places, int rowCount, int panel, int* sums, float* values)
        {
            PackedWeights weights = arguments.Weights;
            bool joined = weights.Plan.JoinsPixels;
            int width = kernel.PanelWidth;
            SumTile tile = new()
            {
                Rows = rows,
                RowCount = rowCount,
                Runs = phase.PinnedRuns(joined),
                RunCount = phase.Runs(joined).Length,
                MaxMagnitude = weights.MaxMagnitude,
                Sums = sums,
            };
            for (int s = 0; s < weights.Plan.Segments.Length; s++)
            {
                SegmentPlan plan = weights.Plan.Segments[s];
                tile.Offset = plan.Start;
                tile.Groups = plan.Groups;
                tile.Codes = weights.Codes(panel, s);
                tile.Lowest = weights.FourBit ? weights.Lowest(s) + (panel * width) : null;
                kernel.Multiply(tile);
                TileEpilogue.AddSegment(
                    sums, values, rowCount, width, weights.WeightSums(s) + (panel * width), weights.Scales(s) + (panel * width),
                    arguments.InputZeroPoints[s], arguments.InputScales[s], first: s == 0);
            }

            int firstChannel = panel * width;
            int channels = Math.Min(width, arguments.Geometry.OutChannels - firstChannel);
            int imageRows = arguments.Geometry.OutHeight * arguments.Geometry.OutWidth;
            bool finish = arguments.Epilogue.NeedsFinish;
            for (int r = 0; r < rowCount; r++)
            {
                float* row = values + (r * width);
                float* output = finish ? row : arguments.Epilogue.Output + (places[r] * arguments.Epilogue.OutputStride) + firstChannel;
                TileEpilogue.Store(row, arguments.Epilogue, places[r], places[r] / imageRows, firstChannel, channels, output);
            }

            if (finish) TileFinish.Write(arguments.Epilogue, values, places, rowCount, panel, width, arguments.Geometry.OutChannels);
        }
    }
}

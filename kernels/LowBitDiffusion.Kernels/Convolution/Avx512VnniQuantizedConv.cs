using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Assembling;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>512-bit <c>vpdpbusd</c>, for which .NET has no intrinsics: the routines of <see cref="Avx512VnniTile"/>, assembled when the kernel is made.</summary>
internal sealed unsafe class Avx512VnniQuantizedConv : QuantizedConvKernel
{
    private readonly ExecutableMemory _code;
    private readonly int[] _entries;

    /// <summary>Assembles the kernel.</summary>
    /// <exception cref="System.ComponentModel.Win32Exception">The system refuses executable memory.</exception>
    /// <exception cref="PlatformNotSupportedException">There is no way to executable memory on this system.</exception>
    internal Avx512VnniQuantizedConv()
    {
        Assembler assembler = new();
        _entries = Write(assembler, CallingConvention.Current);
        _code = new ExecutableMemory(assembler.Finish());
    }

    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Avx512Vnni;

    /// <inheritdoc/>
    public override string Name => "vpdpbusd zmm, assembled, 12×32";

    /// <inheritdoc/>
    public override IReadOnlyList<string> Listing
    {
        get
        {
            List<string> listing = [];
            _ = Write(new Assembler(listing), CallingConvention.Current);
            return listing;
        }
    }

    /// <inheritdoc/>
    internal override int PanelWidth => Avx512VnniTile.PanelWidth;

    /// <summary>Writes all routines; gives where each begins.</summary>
    internal static int[] Write(Assembler assembler, CallingConvention convention)
    {
        int[] entries = new int[VnniTileVariant.Count];
        for (int index = 0; index < entries.Length; index++)
        {
            VnniTileVariant variant = VnniTileVariant.At(index);
            assembler.Align(64);
            assembler.Remark(variant.ToString());
            entries[index] = assembler.Length;
            Avx512VnniTile.Write(assembler, convention, variant);
        }

        return entries;
    }

    /// <inheritdoc/>
    private protected override void Execute(WorkerPool pool, in QuantizedConvArguments arguments)
    {
        PackedPlan plan = arguments.Weights.Plan;
        int rowsPerTile = plan.Segments.Length > 1 ? Avx512VnniTile.MaxRowsOfSegments : Avx512VnniTile.MaxRows;
        TileSchedule schedule = new(arguments.Geometry, plan.Panels, rowsPerTile, pool.Threads);
        pool.For(schedule.Pieces, new Piece(this, arguments, schedule, rowsPerTile));
        GC.KeepAlive(_code);
    }

    private delegate* unmanaged<VnniTileArguments*, void> Routine(VnniTileVariant variant) =>
        (delegate* unmanaged<VnniTileArguments*, void>)(_code.Address + _entries[variant.Index]);

    private readonly struct Piece(Avx512VnniQuantizedConv kernel, QuantizedConvArguments arguments, TileSchedule schedule, int rowsPerTile)
        : IParallelBody
    {
        [SkipLocalsInit]
        public void Run(int index)
        {
            (int firstRow, int rowEnd, int firstPanel, int panelEnd) = schedule[index];
            byte** rows = stackalloc byte*[TileSchedule.MaxBlockRows];
            float** imageVectorRows = stackalloc float*[TileSchedule.MaxBlockRows];
            TileSchedule.RowPointers(arguments.Geometry, arguments.Input, firstRow, rowEnd, rows);
            if (arguments.Epilogue.ImageVector != null) ImageVectorPointers(firstRow, rowEnd, imageVectorRows);

            int count = rowEnd - firstRow;
            int tiles = (count + rowsPerTile - 1) / rowsPerTile;
            (int shortRows, int longTiles) = Math.DivRem(count, tiles);
            int longEnd = longTiles * (shortRows + 1);
            VnniTileArguments tile = Shared();
            float* unfinished = stackalloc float[arguments.Epilogue.NeedsFinish ? TileFinish.Rows * Avx512VnniTile.PanelWidth : 1];
            for (int panel = firstPanel; panel < panelEnd; panel++)
            {
                SetPanel(ref tile, panel);
                RunTiles(ref tile, longTiles, shortRows + 1, panel, firstRow, rows, imageVectorRows, unfinished);
                RunTiles(ref tile, tiles - longTiles, shortRows, panel, firstRow + longEnd, rows + longEnd, imageVectorRows + longEnd, unfinished);
            }
        }

        private void ImageVectorPointers(int firstRow, int rowEnd, float** pointers)
        {
            int imageRows = arguments.Geometry.OutHeight * arguments.Geometry.OutWidth;
            for (int row = firstRow; row < rowEnd; row++)
            {
                *pointers++ = arguments.Epilogue.ImageVector + (row / imageRows * arguments.Epilogue.ImageVectorStride);
            }
        }

        /// <summary>What is the same for all tiles.</summary>
        private VnniTileArguments Shared()
        {
            PackedPlan plan = arguments.Weights.Plan;
            return new VnniTileArguments
            {
                // Pinned, and kept by the weights.
                Segments = (SegmentPlan*)Unsafe.AsPointer(ref plan.Segments[0]),
                SegmentCount = plan.Segments.Length,
                KernelRows = arguments.Geometry.KernelHeight,
                KernelRowStep = (nint)arguments.Geometry.Width * arguments.Geometry.Channels,
                ColumnStep = arguments.Geometry.Channels,
                SegmentStep = (nint)plan.PaddedChannels * sizeof(float),
                LowestStep = plan.PaddedChannels,
                ZeroPoints = arguments.InputZeroPoints,
                InputScales = arguments.InputScales,
                ResidualStride = arguments.Epilogue.ResidualStride * sizeof(float),
                OutputScale = BitConverter.SingleToInt32Bits(arguments.Epilogue.OutputScale),
                OutputStride = arguments.Epilogue.NeedsFinish ? Avx512VnniTile.PanelWidth * sizeof(float) : arguments.Epilogue.OutputStride * sizeof(float),
            };
        }

        private void SetPanel(ref VnniTileArguments tile, int panel)
        {
            int firstChannel = panel * Avx512VnniTile.PanelWidth;
            int channels = Math.Min(Avx512VnniTile.PanelWidth, arguments.Geometry.OutChannels - firstChannel);
            tile.Codes = arguments.Weights.Codes(panel, 0);
            tile.WeightSums = arguments.Weights.WeightSums(0) + firstChannel;
            tile.WeightScales = arguments.Weights.Scales(0) + firstChannel;
            tile.Lowest = arguments.Weights.FourBit ? arguments.Weights.Lowest(0) + firstChannel : null;
            tile.Bias = arguments.Epilogue.Bias == null ? null : arguments.Epilogue.Bias + firstChannel;
            tile.PanelOffset = (nint)firstChannel * sizeof(float);
            tile.Channels = (nint)((1L << channels) - 1);
        }

        private void RunTiles(
            ref VnniTileArguments tile, int tiles, int rowCount, int panel, int firstRow, byte** rows, float** imageVectorRows, float* unfinished)
        {
            if (tiles == 0) return;
            ConvEpilogue epilogue = arguments.Epilogue;
            tile.Rows = rows;
            tile.ImageVectorRows = epilogue.ImageVector == null ? null : imageVectorRows;
            tile.Residual = epilogue.Residual == null ? null : epilogue.Residual + (firstRow * epilogue.ResidualStride) + (tile.PanelOffset / sizeof(float));
            int halves = tile.Channels >> (Avx512VnniTile.PanelWidth / 2) == 0 ? 1 : 2;
            var routine = kernel.Routine(new VnniTileVariant(rowCount, halves, arguments.Weights.FourBit));
            if (!epilogue.NeedsFinish)
            {
                tile.Tiles = tiles;
                tile.Output = epilogue.Output + (firstRow * epilogue.OutputStride) + (tile.PanelOffset / sizeof(float));
                routine((VnniTileArguments*)Unsafe.AsPointer(ref tile));
                return;
            }

            int atOnce = TileFinish.Rows / rowCount;
            for (int done = 0; done < tiles; done += atOnce)
            {
                int count = Math.Min(atOnce, tiles - done);
                tile.Tiles = count;
                tile.Output = unfinished;
                routine((VnniTileArguments*)Unsafe.AsPointer(ref tile));
                TileFinish.Write(epilogue, unfinished, firstRow + (done * rowCount), count * rowCount, panel, Avx512VnniTile.PanelWidth, arguments.Geometry.OutChannels);
            }
        }
    }
}

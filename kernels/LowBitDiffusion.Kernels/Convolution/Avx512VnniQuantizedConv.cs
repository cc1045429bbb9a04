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
        _entries = new int[Avx512VnniTile.MaxRows * 2];
        for (int entry = 0; entry < _entries.Length; entry++)
        {
            assembler.Align(64);
            _entries[entry] = assembler.Length;
            Avx512VnniTile.Write(assembler, CallingConvention.Current, (entry / 2) + 1, nibbles: entry % 2 != 0);
        }

        _code = new ExecutableMemory(assembler.Finish());
    }

    /// <inheritdoc/>
    public override InstructionSet InstructionSet => InstructionSet.Avx512Vnni;

    /// <inheritdoc/>
    public override string Name => "vpdpbusd zmm, assembled, 12×32";

    /// <inheritdoc/>
    internal override PackedLayout Layout => new(Avx512VnniTile.PanelWidth, Nibbles: true);

    /// <inheritdoc/>
    private protected override void Execute(WorkerPool pool, in QuantizedConvArguments arguments)
    {
        TileSchedule schedule = new(arguments.Geometry, arguments.Weights.Plan.Panels, Avx512VnniTile.MaxRows, pool.Threads);
        pool.For(schedule.Pieces, new Piece(this, arguments, schedule));
        GC.KeepAlive(_code);
    }

    private delegate* unmanaged<VnniTileArguments*, void> Routine(int rows, bool nibbles) =>
        (delegate* unmanaged<VnniTileArguments*, void>)(_code.Address + _entries[((rows - 1) * 2) + (nibbles ? 1 : 0)]);

    private readonly struct Piece(Avx512VnniQuantizedConv kernel, QuantizedConvArguments arguments, TileSchedule schedule) : IParallelBody
    {
        [SkipLocalsInit]
        public void Run(int index)
        {
            (int firstRow, int rowEnd, int firstPanel, int panelEnd) = schedule[index];
            byte** rows = stackalloc byte*[TileSchedule.MaxBlockRows];
            float** imageVectorRows = stackalloc float*[TileSchedule.MaxBlockRows];
            float* values = stackalloc float[Avx512VnniTile.MaxRows * Avx512VnniTile.PanelWidth];
            TileSchedule.RowPointers(arguments.Geometry, arguments.Input, firstRow, rowEnd, rows);
            if (arguments.Epilogue.ImageVector != null) ImageVectorPointers(firstRow, rowEnd, imageVectorRows);

            int count = rowEnd - firstRow;
            int tiles = (count + Avx512VnniTile.MaxRows - 1) / Avx512VnniTile.MaxRows;
            (int shortRows, int longTiles) = Math.DivRem(count, tiles);
            int longEnd = longTiles * (shortRows + 1);
            VnniTileArguments tile = Shared(values);
            for (int panel = firstPanel; panel < panelEnd; panel++)
            {
                SetPanel(ref tile, panel);
                RunTiles(ref tile, longTiles, shortRows + 1, firstRow, rows, imageVectorRows);
                RunTiles(ref tile, tiles - longTiles, shortRows, firstRow + longEnd, rows + longEnd, imageVectorRows + longEnd);
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
        private VnniTileArguments Shared(float* values)
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
                ZeroPoints = arguments.InputZeroPoints,
                InputScales = arguments.InputScales,
                Values = values,
                ResidualStride = arguments.Epilogue.ResidualStride * sizeof(float),
                OutputScale = BitConverter.SingleToInt32Bits(arguments.Epilogue.OutputScale),
                OutputStride = arguments.Epilogue.OutputStride * sizeof(float),
            };
        }

        private void SetPanel(ref VnniTileArguments tile, int panel)
        {
            int firstChannel = panel * Avx512VnniTile.PanelWidth;
            int channels = Math.Min(Avx512VnniTile.PanelWidth, arguments.Geometry.OutChannels - firstChannel);
            tile.Codes = arguments.Weights.Codes(panel, 0);
            tile.WeightSums = arguments.Weights.WeightSums(0) + firstChannel;
            tile.WeightScales = arguments.Weights.Scales(0) + firstChannel;
            tile.Bias = arguments.Epilogue.Bias == null ? null : arguments.Epilogue.Bias + firstChannel;
            tile.PanelOffset = (nint)firstChannel * sizeof(float);
            tile.Channels = (nint)((1L << channels) - 1);
        }

        private void RunTiles(ref VnniTileArguments tile, int tiles, int rowsPerTile, int firstRow, byte** rows, float** imageVectorRows)
        {
            if (tiles == 0) return;
            ConvEpilogue epilogue = arguments.Epilogue;
            tile.Tiles = tiles;
            tile.Rows = rows;
            tile.ImageVectorRows = epilogue.ImageVector == null ? null : imageVectorRows;
            tile.Residual = epilogue.Residual == null ? null : epilogue.Residual + (firstRow * epilogue.ResidualStride) + (tile.PanelOffset / sizeof(float));
            tile.Output = epilogue.Output + (firstRow * epilogue.OutputStride) + (tile.PanelOffset / sizeof(float));
            kernel.Routine(rowsPerTile, arguments.Weights.FourBit)((VnniTileArguments*)Unsafe.AsPointer(ref tile));
        }
    }
}

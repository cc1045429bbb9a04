using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Assembling;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Convolution;

/// <summary>512-bit <c>vpdpbusd</c>, for which .NET has no intrinsics: the routines of <see cref="Avx512VnniTile"/>, assembled when the kernel is made.</summary>
internal sealed unsafe class Avx512VnniQuantizedConv : QuantizedConvKernel
{
    private const int MaxSegmentsOnStack = 256;

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
            ConvEpilogue epilogue = arguments.Epilogue;
            byte** pixels = stackalloc byte*[TileSchedule.MaxBlockRows];
            int* places = stackalloc int[TileSchedule.MaxBlockRows];
            arguments.Walk.Locate(arguments.Input, firstRow, rowEnd, pixels, places);
            nint* outputs = stackalloc nint[TileSchedule.MaxBlockRows], residuals = stackalloc nint[TileSchedule.MaxBlockRows];
            float** vectors = stackalloc float*[TileSchedule.MaxBlockRows];
            int count = rowEnd - firstRow;
            if (!epilogue.NeedsFinish) Offsets(places, count, epilogue.OutputStride, outputs);
            if (epilogue.Residual != null) Offsets(places, count, epilogue.ResidualStride, residuals);
            if (epilogue.ImageVector != null) ImageVectors(places, count, vectors);

            float* unfinished = stackalloc float[epilogue.NeedsFinish ? TileFinish.Rows * Avx512VnniTile.PanelWidth : 1];
            nint* unfinishedRows = stackalloc nint[TileFinish.Rows];
            for (int row = 0; row < TileFinish.Rows; row++) unfinishedRows[row] = row * Avx512VnniTile.PanelWidth * sizeof(float);

            bool joined = arguments.Weights.Plan.JoinsPixels;
            int segments = arguments.Weights.Plan.Segments.Length;
            byte* room = stackalloc byte[(Math.Min(segments, MaxSegmentsOnStack) * sizeof(VnniSegment)) + 63];
            using NativeBuffer? more = segments > MaxSegmentsOnStack ? new NativeBuffer((nuint)segments * (nuint)sizeof(VnniSegment)) : null;
            VnniSegment* table = more is null ? (VnniSegment*)(((nint)room + 63) & ~(nint)63) : (VnniSegment*)more.Pointer;
            VnniTileArguments tile = Shared(table);
            for (int panel = firstPanel; panel < panelEnd; panel++)
            {
                SetPanel(ref tile, panel);
                foreach (ConvPhase phase in arguments.Walk.Phases)
                {
                    int from = Math.Max(firstRow, phase.FirstRow) - firstRow, rows = Math.Min(rowEnd, phase.RowEnd) - firstRow - from;
                    if (rows <= 0) continue;
                    tile.Runs = phase.PinnedRuns(joined);
                    tile.RunCount = phase.Runs(joined).Length;
                    tile.Rows = pixels + from;
                    tile.ImageVectorRows = epilogue.ImageVector == null ? null : vectors + from;
                    tile.ResidualRows = residuals + from;
                    tile.OutputRows = epilogue.NeedsFinish ? unfinishedRows : outputs + from;
                    RunRows(ref tile, rows, panel, places + from, unfinished);
                }
            }
        }

        private static void Offsets(int* places, int count, nint stride, nint* offsets)
        {
            for (int row = 0; row < count; row++) offsets[row] = places[row] * stride * sizeof(float);
        }

        private void ImageVectors(int* places, int count, float** pointers)
        {
            int imageRows = arguments.Geometry.OutHeight * arguments.Geometry.OutWidth;
            for (int row = 0; row < count; row++) pointers[row] = arguments.Epilogue.ImageVector + (places[row] / imageRows * arguments.Epilogue.ImageVectorStride);
        }

        /// <summary>What is the same for all tiles.</summary>
        private VnniTileArguments Shared(VnniSegment* segments) => new()
        {
            Segments = segments,
            SegmentCount = arguments.Weights.Plan.Segments.Length,
            OutputScale = BitConverter.SingleToInt32Bits(arguments.Epilogue.OutputScale),
        };

        private void SetPanel(ref VnniTileArguments tile, int panel)
        {
            int firstChannel = panel * Avx512VnniTile.PanelWidth;
            int channels = Math.Min(Avx512VnniTile.PanelWidth, arguments.Geometry.OutChannels - firstChannel);
            tile.Codes = arguments.Weights.Codes(panel, 0);
            SetSegments(tile.Segments, firstChannel);
            tile.Bias = arguments.Epilogue.Bias == null ? null : arguments.Epilogue.Bias + firstChannel;
            tile.PanelOffset = (nint)firstChannel * sizeof(float);
            tile.Channels = (nint)((1L << channels) - 1);
            tile.Residual = arguments.Epilogue.Residual == null ? null : arguments.Epilogue.Residual + firstChannel;
        }

        private void SetSegments(VnniSegment* table, int firstChannel)
        {
            PackedWeights weights = arguments.Weights;
            for (int s = 0; s < weights.Plan.Segments.Length; s++, table++)
            {
                SegmentPlan plan = weights.Plan.Segments[s];
                (table->Start, table->PixelLength) = (plan.Start, plan.Groups * 4);
                int* sums = weights.WeightSums(s) + firstChannel;
                float* scales = weights.Scales(s) + firstChannel;
                for (int c = 0; c < Avx512VnniTile.PanelWidth; c += Vector512<int>.Count)
                {
                    Vector512<int> correction = Avx512F.MultiplyLow(Avx512F.LoadVector512(sums + c), DotVector512.Create(arguments.InputZeroPoints[s]));
                    Avx512F.Store(table->FirstSums + c, Avx512F.Subtract(Vector512<int>.Zero, correction));
                    Avx512F.Store(table->Factors + c, Avx512F.Multiply(Avx512F.BroadcastScalarToVector512(Vector128.CreateScalarUnsafe(arguments.InputScales[s])), Avx512F.LoadVector512(scales + c)));
                    if (weights.FourBit) DotVector512.Store((int*)(table->Lowest + (4 * c)), DotVector512.FourTimes(weights.Lowest(s) + firstChannel + c));
                }
            }
        }

        /// <summary>Tiles as even as can be: 13 rows are 7 + 6, not 12 + 1.</summary>
        private void RunRows(ref VnniTileArguments tile, int rows, int panel, int* places, float* unfinished)
        {
            int tiles = (rows + rowsPerTile - 1) / rowsPerTile;
            (int shortRows, int longTiles) = Math.DivRem(rows, tiles);
            RunTiles(ref tile, longTiles, shortRows + 1, panel, places, unfinished);
            RunTiles(ref tile, tiles - longTiles, shortRows, panel, places + (longTiles * (shortRows + 1)), unfinished);
        }

        private void RunTiles(ref VnniTileArguments tile, int tiles, int rowCount, int panel, int* places, float* unfinished)
        {
            if (tiles == 0) return;
            ConvEpilogue epilogue = arguments.Epilogue;
            int halves = tile.Channels >> (Avx512VnniTile.PanelWidth / 2) == 0 ? 1 : 2;
            var routine = kernel.Routine(new VnniTileVariant(rowCount, halves, arguments.Weights.FourBit));
            if (!epilogue.NeedsFinish)
            {
                tile.Tiles = tiles;
                tile.Output = epilogue.Output + (tile.PanelOffset / sizeof(float));
                routine((VnniTileArguments*)Unsafe.AsPointer(ref tile));
                return;
            }

            tile.Output = unfinished;
            nint* unfinishedRows = tile.OutputRows;
            int atOnce = TileFinish.Rows / rowCount;
            for (int done = 0; done < tiles; done += atOnce)
            {
                int count = Math.Min(atOnce, tiles - done);
                tile.Tiles = count;
                routine((VnniTileArguments*)Unsafe.AsPointer(ref tile));
                tile.OutputRows = unfinishedRows;
                TileFinish.Write(epilogue, unfinished, places + (done * rowCount), count * rowCount, panel, Avx512VnniTile.PanelWidth, arguments.Geometry.OutChannels);
            }
        }
    }
}

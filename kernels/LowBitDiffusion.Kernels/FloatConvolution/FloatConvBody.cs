using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.FloatConvolution;

/// <summary>
/// One convolution in pieces: a block of output pixels × a group of panels.
/// <code>
///   for each panel of the group                    panel: K × 32 weights (AVX-512)
///     for each chunk of K                          chunk: small enough to stay in the first cache while the block's tiles pass over it
///       for each tile of 8 pixels of the block     sums wait in a stack buffer of block × 32 between the chunks
///     epilogue over the sums
/// </code>
/// A chunk is a stretch of K, whatever runs of the image it goes through (<see cref="ConvWalk"/>). Pieces follow each other along the pixels first, so that threads share a group's panels.
/// </summary>
[SkipLocalsInit]
internal readonly unsafe struct FloatConvBody<TSimd, TVector> : IParallelBody where TSimd : struct, ISimd<TVector> where TVector : struct
{
    private const int MaxBlock = 64;
    private const int ChunkBytes = 24 << 10;
    private const int GroupBytes = 512 << 10;
    private const int PiecesPerThread = 4;

    private readonly ConvWalk _walk;
    private readonly float* _input;
    private readonly float* _weights;
    private readonly ConvEpilogue _epilogue;
    private readonly int _block;
    private readonly int _blocks;
    private readonly int _panels;
    private readonly int _group;

    public FloatConvBody(ConvWalk walk, float* input, float* weights, in ConvEpilogue epilogue, int threads)
    {
        ConvGeometry geometry = walk.Geometry;
        _walk = walk;
        _input = input;
        _weights = weights;
        _epilogue = epilogue;
        int tile = MatrixTile<TSimd, TVector>.MaxRows, limit = MaxBlock / tile * tile;
        int blocks = (geometry.Rows + limit - 1) / limit;
        _block = ((geometry.Rows + blocks - 1) / blocks + tile - 1) / tile * tile;
        _blocks = (geometry.Rows + _block - 1) / _block;
        _panels = Panels.Count(geometry.OutChannels, TSimd.Count);
        int wanted = threads * PiecesPerThread;
        int byCache = Math.Max(1, GroupBytes / (2 * TSimd.Count * sizeof(float) * geometry.Depth));
        int byBalance = Math.Max(1, _panels * _blocks / wanted);
        _group = Math.Min(_panels, threads == 1 ? byCache : Math.Min(byCache, byBalance));
    }

    /// <summary>How many pieces there are.</summary>
    public int Pieces => _blocks * ((_panels + _group - 1) / _group);

    /// <inheritdoc/>
    public void Run(int index)
    {
        ConvGeometry geometry = _walk.Geometry;
        int block = index % _blocks, firstPanel = index / _blocks * _group, lastPanel = Math.Min(firstPanel + _group, _panels);
        int firstRow = block * _block, rowEnd = Math.Min(firstRow + _block, geometry.Rows);

        float** pixels = stackalloc float*[MaxBlock];
        int* places = stackalloc int[MaxBlock];
        _walk.Locate(_input, firstRow, rowEnd, pixels, places);

        byte* buffer = stackalloc byte[MaxBlock * 2 * 16 * sizeof(float) + 64];
        float* sums = (float*)(((nint)buffer + 63) & ~63);
        for (int panel = firstPanel; panel < lastPanel; panel++)
        {
            int vectors = Panels.Vectors(panel, geometry.OutChannels, TSimd.Count);
            int width = vectors * TSimd.Count, column = panel * 2 * TSimd.Count, columns = Math.Min(width, geometry.OutChannels - column);
            foreach (ConvPhase phase in _walk.Phases)
            {
                int first = Math.Max(firstRow, phase.FirstRow), rows = Math.Min(rowEnd, phase.RowEnd) - first;
                if (rows > 0) MultiplyPanel(phase.Runs(joined: true), pixels + (first - firstRow), rows, panel, vectors, sums + ((first - firstRow) * width));
            }

            int done = Finish<TSimd, TVector>(sums, places, rowEnd - firstRow, width, column, 0, columns);
            if (done < columns) Finish<Simd1, float>(sums, places, rowEnd - firstRow, width, column, done, columns);
        }
    }

    private void MultiplyPanel(ReadOnlySpan<ConvRun> runs, float** pixels, int rows, int panel, int vectors, float* sums)
    {
        int tile = MatrixTile<TSimd, TVector>.MaxRows, width = vectors * TSimd.Count, channels = _walk.Geometry.Channels, chunk = ChunkBytes / (width * sizeof(float));
        float* weights = _weights + (nint)panel * 2 * TSimd.Count * _walk.Geometry.Depth;
        MatrixRun* stretch = stackalloc MatrixRun[runs.Length];
        nint within = 0;
        bool accumulate = false;
        for (int run = 0; run < runs.Length;)
        {
            int count = 0, left = chunk;
            for (; run < runs.Length && left > 0; count++)
            {
                int rest = (int)((runs[run].Pixels * channels) - within), taken = Math.Min(rest, left);
                stretch[count] = new MatrixRun(runs[run].Offset + within, taken);
                left -= taken;
                (run, within) = taken == rest ? (run + 1, 0) : (run, within + taken);
            }

            for (int row = 0; row < rows; row += tile)
            {
                MatrixTile<TSimd, TVector>.Multiply(Math.Min(tile, rows - row), vectors, pixels + row, stretch, count, weights, sums + row * width, width, accumulate);
            }

            weights += (nint)(chunk - left) * width;
            accumulate = true;
        }
    }

    /// <summary>The lines of <see cref="ConvEpilogue"/>, in whole vectors of columns from <paramref name="start"/> on; returns the first column that is
    /// left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Finish<TLanes, TValue>(float* sums, int* places, int rows, int width, int firstColumn, int start, int columns)
        where TLanes : struct, ISimd<TValue> where TValue : struct
    {
        int end = start + (columns - start) / TLanes.Count * TLanes.Count, pixelsPerImage = _walk.Geometry.OutHeight * _walk.Geometry.OutWidth;
        float* bias = _epilogue.Bias == null ? null : _epilogue.Bias + firstColumn;
        TValue scale = TLanes.Create(_epilogue.OutputScale);
        for (int i = 0; i < rows; i++, sums += width)
        {
            nint row = places[i];
            float* vector = _epilogue.ImageVector == null ? null : _epilogue.ImageVector + row / pixelsPerImage * _epilogue.ImageVectorStride + firstColumn;
            float* residual = _epilogue.Residual == null ? null : _epilogue.Residual + row * _epilogue.ResidualStride + firstColumn;
            float* output = _epilogue.Output + row * _epilogue.OutputStride + firstColumn;
            for (int column = start; column < end; column += TLanes.Count)
            {
                TValue value = TLanes.Load(sums + column);
                if (bias != null) value = TLanes.Add(value, TLanes.Load(bias + column));
                if (vector != null) value = TLanes.Add(value, TLanes.Load(vector + column));
                if (residual != null) value = TLanes.Add(value, TLanes.Load(residual + column));
                TLanes.Store(output + column, TLanes.Multiply(value, scale));
            }
        }

        return end;
    }
}

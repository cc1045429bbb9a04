using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>One thread's share of an attention in integers: tiles of 32 queries of one head, each streamed over all blocks of keys.</summary>
internal readonly unsafe struct Int8AttentionBody<TSimd, TLanes, TFloat, TInt, TProduct>(AttentionJob job, Int8AttentionMemory memory, TProduct product) : IParallelBody
    where TSimd : struct, ISimd<TFloat>
    where TLanes : struct, IByteLanes<TFloat, TInt>
    where TFloat : struct
    where TInt : struct
    where TProduct : struct, IByteProduct
{
    private const int Tile = Int8AttentionLayout.QueryTile, Block = Int8AttentionLayout.KeyBlock;

    /// <summary>log₂ e, and its inverse.</summary>
    private const float Log2E = 1.442695041f, Ln2 = 0.6931471806f;

    /// <inheritdoc/>
    public void Run(int index)
    {
        Int8TileState state = memory.State(index);
        int tiles = job.Batch * job.Heads * memory.Layout.QueryTiles, tile;
        while ((tile = Interlocked.Increment(ref Unsafe.AsRef<int>(memory.Counter)) - 1) < tiles)
        {
            (int head, int first) = Math.DivRem(tile, memory.Layout.QueryTiles);
            Stream(state, head, first * Tile, Math.Min(Tile, job.Queries - (first * Tile)));
        }
    }

    private void Stream(in Int8TileState state, int head, int firstQuery, int queries)
    {
        (int image, int headOfImage) = Math.DivRem(head, job.Heads);
        nint row = ((nint)image * job.Queries) + firstQuery;
        for (int query = 0; query < queries; query++) Quantize(state, query, job.Query.Row(row + query) + (headOfImage * job.HeadWidth));
        if (firstQuery + Tile < job.Queries) Fetch(row + Tile, Math.Min(Tile, job.Queries - firstQuery - Tile), headOfImage * job.HeadWidth);
        Clear(state, queries);

        ByteProductArguments scores = new()
        {
            Vectors = state.Queries,
            RowStride = memory.Layout.KeyRow,
            GroupStride = 4,
            RowEnd = memory.Layout.KeyGroups * 4,
            Queries = state.Maxima,
        };
        ByteProductArguments outputs = new() { Vectors = state.Weights, RowStride = 4, GroupStride = memory.Layout.ValueGroup, Queries = state.Decays };
        for (int first = 0; first < job.Keys; first += Block)
        {
            int keys = Math.Min(Block, job.Keys - first), groups = (keys + 3) / 4;
            scores.Rows = memory.KeyCodes(head) + ((nint)first * memory.Layout.KeyRow);
            scores.Count = keys;
            scores.Starts = memory.KeyStarts(head) + first;
            scores.Scales = memory.KeyScales(head) + first;
            scores.Output = state.Scores;
            product.Score(ref scores);

            for (int query = 0; query < Tile; query += TSimd.Count) Weigh(state, query, groups);

            outputs.Rows = memory.ValueCodes(head) + ((nint)first / 4 * memory.Layout.ValueGroup);
            outputs.RowEnd = (nint)groups * memory.Layout.ValueGroup;
            outputs.Count = job.ValueWidth + 1;
            outputs.Output = state.Outputs;
            product.Mix(ref outputs);
        }

        Finish(state, image, headOfImage, row, queries);
    }

    /// <summary>A query's codes go to its column of <c>[channel/4][query][4]</c>.</summary>
    private void Quantize(in Int8TileState state, int query, float* row)
    {
        int* codes = (int*)state.RowCodes, target = (int*)state.Queries + query;
        float largest = Int8Rows<TSimd, TFloat>.Largest(row, null, job.HeadWidth);
        codes[memory.Layout.KeyGroups - 1] = 0;
        Int8Rows<TSimd, TFloat>.Quantize(row, null, (byte*)codes, job.HeadWidth, largest);
        for (int group = 0; group < memory.Layout.KeyGroups; group++) target[group * Tile] = codes[group];
        state.Factors[query] = largest / Int8Rows<TSimd, TFloat>.MaxCode * (job.Scale * Log2E);
    }

    /// <summary>Has the next tile's queries fetched meanwhile: they lie too far apart for the processor to foresee.</summary>
    private void Fetch(nint row, int queries, int channel)
    {
        if (!Sse.IsSupported) return;
        for (int query = 0; query < queries; query++)
        {
            byte* start = (byte*)(job.Query.Row(row + query) + channel), end = start + (job.HeadWidth * sizeof(float));
            for (byte* line = start; line < end; line += 64) Sse.Prefetch1(line);
            Sse.Prefetch1(end - 1);
        }
    }

    private void Clear(in Int8TileState state, int queries)
    {
        // Queries that fill up the tile compute with what is left from the tile before.
        new Span<float>(state.Factors + queries, Tile - queries).Clear();
        new Span<float>(state.Maxima, Tile).Fill(float.MinValue);
        new Span<float>(state.Offsets, Tile).Fill(float.PositiveInfinity);
        new Span<float>(state.Outputs, (job.ValueWidth + 1) * Tile).Clear();
    }

    /// <summary>Scores of one vector of queries become weights; the codes of four keys share a lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weigh(in Int8TileState state, int query, int groups)
    {
        TFloat factor = TSimd.Load(state.Factors + query);
        TFloat offset = TSimd.Subtract(default, TSimd.Multiply(TSimd.Load(state.Maxima + query), factor));
        TFloat change = TSimd.Multiply(TSimd.Subtract(offset, TSimd.Load(state.Offsets + query)), TSimd.Create(Ln2));
        TSimd.Store(state.Decays + query, Functions.Exp<TSimd, TFloat>(change));
        TSimd.Store(state.Offsets + query, offset);

        float* scores = state.Scores + query;
        byte* weights = state.Weights + (query * 4);
        for (int group = 0; group < groups; group++, scores += 4 * Tile, weights += 4 * Tile)
        {
            TLanes.Store(weights, TLanes.Interleave(
                Weight(TSimd.Load(scores), factor, offset), Weight(TSimd.Load(scores + Tile), factor, offset),
                Weight(TSimd.Load(scores + (2 * Tile)), factor, offset), Weight(TSimd.Load(scores + (3 * Tile)), factor, offset)));
        }
    }

    /// <summary>round(255·2^x) with x = score·factor + offset ≤ 0: 255·2^r for r = x − ⌊x⌋ is a polynomial (largest relative error 7.5e−5), 2^⌊x⌋ an exponent.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TInt Weight(TFloat score, TFloat factor, TFloat offset)
    {
        TFloat x = TSimd.MultiplyAdd(score, factor, offset), r = TLanes.Fraction(x);
        TFloat p = TSimd.MultiplyAdd(TSimd.Create(19.89625358581543f), r, TSimd.Create(57.647125244140625f));
        p = TSimd.MultiplyAdd(TSimd.MultiplyAdd(p, r, TSimd.Create(177.4375457763672f)), r, TSimd.Create(254.98092651367188f));
        return TLanes.Round(TLanes.ScaleByFloor(p, x));
    }

    /// <summary>Output = O/l·scale + middle, turned back from <c>[channel][query]</c>.</summary>
    private void Finish(in Int8TileState state, int image, int headOfImage, nint row, int queries)
    {
        int channel = headOfImage * job.ValueWidth;
        float* sums = state.Outputs + (job.ValueWidth * Tile);
        for (int query = 0; query < Tile; query += TSimd.Count) TSimd.Store(sums + query, TSimd.Divide(TSimd.Create(1), TSimd.Load(sums + query)));
        for (int c = 0; c < job.ValueWidth; c++)
        {
            TFloat scale = TSimd.Create(memory.ValueScales(image)[channel + c]), middle = TSimd.Create(memory.ValueMiddles(image)[channel + c]);
            for (int query = 0; query < Tile; query += TSimd.Count)
            {
                float* output = state.Outputs + (c * Tile) + query;
                TSimd.Store(output, TSimd.MultiplyAdd(TSimd.Multiply(TSimd.Load(output), TSimd.Load(sums + query)), scale, middle));
            }
        }

        for (int query = 0; query < queries; query++)
        {
            float* target = job.Output.Row(row + query) + channel, source = state.Outputs + query;
            for (int c = 0; c < job.ValueWidth; c++) target[c] = source[c * Tile];
        }
    }
}

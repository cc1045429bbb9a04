using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>One thread's share of an attention in integers or bfloat16: tiles of 32 queries of one head, each streamed over all blocks of keys.</summary>
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
        Quantize(state, job.Query.Row(row) + (headOfImage * job.HeadWidth), queries);
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
        ByteProductArguments outputs = new() { Vectors = state.Weights, RowStride = 4, GroupStride = memory.Layout.ValueGroup, Queries = state.Decays, Scores = state.Scores, Factors = state.Factors, Offsets = state.Offsets };
        for (int first = 0; first < job.Keys; first += Block)
        {
            int keys = Math.Min(Block, job.Keys - first), groups = (keys + 3) / 4 * (4 / memory.Layout.GroupSize);
            scores.Rows = memory.KeyCodes(head) + ((nint)first * memory.Layout.KeyRow);
            scores.Count = keys;
            scores.Starts = memory.KeyStarts(head) + first;
            scores.Scales = memory.KeyScales(head) + first;
            scores.Output = state.Scores;
            product.Score(ref scores);

            // Keys that fill up a group count nothing, but must be numbers: integers come of anything.
            if (memory.Layout.IsBf16) new Span<float>(state.Scores + (keys * Tile), (-keys & 3) * Tile).Fill(-1e30f);
            Advance(state);

            outputs.Rows = memory.ValueCodes(head) + ((nint)first / memory.Layout.GroupSize * memory.Layout.ValueGroup);
            outputs.RowEnd = (nint)groups * memory.Layout.ValueGroup;
            outputs.Count = job.ValueWidth + 1;
            outputs.Output = state.Outputs;
            product.WeighAndMix(ref outputs);
        }

        Finish(state, image, headOfImage, row, queries);
    }

    /// <summary>Codes of the tile's queries, and their factors.</summary>
    private void Quantize(in Int8TileState state, float* row, int queries)
    {
        for (int query = 0; query < queries; query++, row += job.Query.Stride)
        {
            int* codes = (int*)(state.RowCodes + (query * memory.Layout.KeyRow));
            codes[memory.Layout.KeyGroups - 1] = 0;
            if (memory.Layout.IsBf16)
            {
                Bf16Rows.Round(row, null, (ushort*)codes, job.HeadWidth);
                state.Factors[query] = job.Scale * Log2E;
                continue;
            }

            float largest = Int8Rows<TSimd, TFloat>.Largest(row, null, job.HeadWidth);
            Int8Rows<TSimd, TFloat>.Quantize(row, null, (byte*)codes, job.HeadWidth, largest);
            state.Factors[query] = largest / Int8Rows<TSimd, TFloat>.MaxCode * (job.Scale * Log2E);
        }

        Matrices.Transpose((float*)state.RowCodes, memory.Layout.KeyRow / sizeof(float), queries, memory.Layout.KeyGroups, (float*)state.Queries, Tile);
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

    /// <summary>Offsets follow the maxima; what was gathered before shrinks by as much.</summary>
    private static void Advance(in Int8TileState state)
    {
        for (int query = 0; query < Tile; query += TSimd.Count)
        {
            TFloat offset = TSimd.Subtract(default, TSimd.Multiply(TSimd.Load(state.Maxima + query), TSimd.Load(state.Factors + query)));
            TFloat change = TSimd.Multiply(TSimd.Subtract(offset, TSimd.Load(state.Offsets + query)), TSimd.Create(Ln2));
            TSimd.Store(state.Decays + query, Functions.Exp<TSimd, TFloat>(change));
            TSimd.Store(state.Offsets + query, offset);
        }
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
                TSimd.Store(output, TSimd.FusedMultiplyAdd(TSimd.Multiply(TSimd.Load(output), TSimd.Load(sums + query)), scale, middle));
            }
        }

        Matrices.Transpose(state.Outputs, Tile, job.ValueWidth, queries, job.Output.Row(row) + channel, job.Output.Stride);
    }
}

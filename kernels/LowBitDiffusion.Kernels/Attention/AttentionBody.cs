using System.Runtime.CompilerServices;
using LowBitDiffusion.Kernels.Elementwise;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Attention;

/// <summary>One thread's share of an attention: blocks of queries of one head, each streamed over all blocks of keys.</summary>
internal readonly unsafe struct AttentionBody<TSimd, TVector>(AttentionJob job, AttentionScratch layout, float* keys, float* values, float* states, int* counter) : IParallelBody
    where TSimd : struct, ISimd<TVector> where TVector : struct
{
    /// <inheritdoc/>
    public void Run(int index)
    {
        State state = new(states + index * layout.StateLength, layout);
        int blocks = job.Batch * job.Heads * layout.QueryBlocks, block;
        while ((block = Interlocked.Increment(ref Unsafe.AsRef<int>(counter)) - 1) < blocks)
        {
            int head = block / layout.QueryBlocks, first = block % layout.QueryBlocks * AttentionScratch.QueryBlock;
            Stream(state, head, first, Math.Min(AttentionScratch.QueryBlock, job.Queries - first));
        }
    }

    private void Stream(in State state, int head, int firstQuery, int queries)
    {
        int image = head / job.Heads, headOfImage = head % job.Heads;
        nint row = (nint)image * job.Queries + firstQuery;
        float** queryRows = stackalloc float*[AttentionScratch.QueryBlock];
        float** scoreRows = stackalloc float*[AttentionScratch.QueryBlock];
        for (int i = 0; i < queries; i++)
        {
            queryRows[i] = state.Queries + (nint)i * job.HeadWidth;
            scoreRows[i] = state.Scores + (nint)i * AttentionScratch.KeyBlock;
            SoftmaxRow<TSimd, TVector>.Scale(job.Query.Row(row + i) + headOfImage * job.HeadWidth, queryRows[i], job.HeadWidth, job.Scale);
            state.Maxima[i] = float.MinValue;
        }

        new Span<float>(state.Sums, queries * SoftmaxRow<TSimd, TVector>.Lanes).Clear();

        int visible = job.Causal ? Math.Min(job.Keys, firstQuery + queries) : job.Keys;
        for (int firstKey = 0; firstKey < visible; firstKey += AttentionScratch.KeyBlock)
        {
            int count = Math.Min(AttentionScratch.KeyBlock, visible - firstKey);
            Score(state, queryRows, head, firstKey, queries, count);
            for (int i = 0; i < queries; i++) Weigh(state, i, image, firstQuery + i, firstKey, count, scoreRows[i]);
            Collect(state, scoreRows, head, firstKey, queries, count);
        }

        for (int i = 0; i < queries; i++)
        {
            float* output = job.Output.Row(row + i) + headOfImage * job.ValueWidth;
            float sum = SoftmaxRow<TSimd, TVector>.Sum(state.Sums + i * SoftmaxRow<TSimd, TVector>.Lanes);
            SoftmaxRow<TSimd, TVector>.Scale(state.Outputs + (nint)i * layout.PaddedValueWidth, output, job.ValueWidth, 1 / sum);
        }
    }

    /// <summary>s = (q·scale) kᵀ.</summary>
    private void Score(in State state, float** queryRows, int head, int firstKey, int queries, int count)
    {
        int tile = MatrixTile<TSimd, TVector>.MaxRows, panelWidth = 2 * TSimd.Count;
        float* packed = keys + head * layout.KeyLength;
        MatrixRun run = new(0, job.HeadWidth);
        for (int key = firstKey; key < firstKey + count; key += panelWidth)
        {
            int vectors = Panels.Vectors(key / panelWidth, job.Keys, TSimd.Count);
            for (int i = 0; i < queries; i += tile)
            {
                MatrixTile<TSimd, TVector>.Multiply(
                    Math.Min(tile, queries - i), vectors, queryRows + i, &run, 1, packed + (nint)key * job.HeadWidth,
                    state.Scores + (nint)i * AttentionScratch.KeyBlock + (key - firstKey), AttentionScratch.KeyBlock, false);
            }
        }
    }

    /// <summary>Scores of one query become weights; what it has gathered so far is scaled to the new maximum.</summary>
    private void Weigh(in State state, int i, int image, int query, int firstKey, int count, float* scores)
    {
        if (job.Mask != null)
        {
            float* mask = job.Mask + image * job.MaskStride + firstKey;
            for (int key = 0; key < count; key++) scores[key] += mask[key];
        }

        int seen = job.Causal ? Math.Clamp(query + 1 - firstKey, 0, count) : count;

        // Up to whole rounds of the exponential's loop: what is not seen has weight 0.
        int padded = (count + SoftmaxRow<TSimd, TVector>.Lanes - 1) / SoftmaxRow<TSimd, TVector>.Lanes * SoftmaxRow<TSimd, TVector>.Lanes;
        new Span<float>(scores + seen, padded - seen).Fill(float.NegativeInfinity);

        float before = state.Maxima[i], max = SoftmaxRow<TSimd, TVector>.Max(scores, padded, before);
        float* sums = state.Sums + i * SoftmaxRow<TSimd, TVector>.Lanes;
        if (max != before)
        {
            float* output = state.Outputs + (nint)i * layout.PaddedValueWidth;
            float decay = Functions.Exp(before - max);
            SoftmaxRow<TSimd, TVector>.Scale(sums, sums, SoftmaxRow<TSimd, TVector>.Lanes, decay);
            if (firstKey > 0) SoftmaxRow<TSimd, TVector>.Scale(output, output, layout.PaddedValueWidth, decay);
            state.Maxima[i] = max;
        }

        SoftmaxRow<TSimd, TVector>.Exponentiate(scores, scores, padded, max, sums);
    }

    /// <summary>O += p v.</summary>
    private void Collect(in State state, float** scoreRows, int head, int firstKey, int queries, int count)
    {
        int tile = MatrixTile<TSimd, TVector>.MaxRows, panelWidth = 2 * TSimd.Count;
        MatrixRun run = new(0, count);
        for (int channel = 0; channel < job.ValueWidth; channel += panelWidth)
        {
            int vectors = Panels.Vectors(channel / panelWidth, job.ValueWidth, TSimd.Count);
            float* packed = values + head * layout.ValueLength + (nint)channel * job.Keys + (nint)firstKey * vectors * TSimd.Count;
            for (int i = 0; i < queries; i += tile)
            {
                MatrixTile<TSimd, TVector>.Multiply(
                    Math.Min(tile, queries - i), vectors, scoreRows + i, &run, 1, packed,
                    state.Outputs + (nint)i * layout.PaddedValueWidth + channel, layout.PaddedValueWidth, firstKey > 0);
            }
        }
    }

    /// <summary>What is kept for one block of queries.</summary>
    private readonly struct State
    {
        public readonly float* Queries;
        public readonly float* Outputs;
        public readonly float* Scores;
        public readonly float* Maxima;
        public readonly float* Sums;

        public State(float* memory, in AttentionScratch layout)
        {
            Queries = memory;
            Outputs = Queries + layout.ScaledQueryLength;
            Scores = Outputs + layout.OutputLength;
            Maxima = Scores + AttentionScratch.QueryBlock * AttentionScratch.KeyBlock;
            Sums = Maxima + AttentionScratch.QueryBlock;
        }
    }
}

using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>Attention in bfloat16 as <see cref="Kernels.Attention.Bf16Attention"/> defines it, operation by operation; its kernel must agree bit for bit given equal inputs.</summary>
internal static class BrainFloatAttention
{
    private const int Block = 240;

    /// <summary>Row-major queries, keys and values <c>[N, L, heads·width]</c>.</summary>
    public static float[] Run(AttentionOp op, float[] q, float[] k, float[] v, TensorShape queries, TensorShape values)
    {
        int length = queries[1], keys = values[1], channels = queries[2], valueChannels = values[2];
        float[] y = new float[queries[0] * length * valueChannels];
        for (int n = 0; n < queries[0]; n++)
        {
            float[] means = new float[channels], middles = new float[valueChannels];
            float[] keyCodes = Centred(k.AsSpan(n * keys * channels, keys * channels), channels, means, Mean), valueCodes = Centred(v.AsSpan(n * keys * valueChannels, keys * valueChannels), valueChannels, middles, Middle);
            for (int i = 0; i < length; i++)
            {
                for (int h = 0; h < op.Heads; h++)
                {
                    Attend(
                        q.AsSpan((n * length + i) * channels + h * (channels / op.Heads), channels / op.Heads), keyCodes, channels, valueCodes, middles, keys, h,
                        y.AsSpan((n * length + i) * valueChannels + h * (valueChannels / op.Heads), valueChannels / op.Heads));
                }
            }
        }

        return y;
    }

    // A number with the eight bits of bfloat16; what is below the normal numbers counts as 0.
    private static float Round(float x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x);
        if ((bits & 0x7F800000) == 0) return 0;
        return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000);
    }

    private static float[] Centred(ReadOnlySpan<float> rows, int channels, float[] centres, Func<float[], float> centre)
    {
        float[] centred = new float[rows.Length], column = new float[rows.Length / channels];
        for (int c = 0; c < channels; c++)
        {
            for (int j = 0; j < column.Length; j++) column[j] = rows[j * channels + c];
            centres[c] = centre(column);
            for (int j = 0; j < column.Length; j++) centred[j * channels + c] = Round(column[j] - centres[c]);
        }

        return centred;
    }

    private static float Mean(float[] column)
    {
        float sum = 0;
        foreach (float x in column) sum += x;
        return sum / column.Length;
    }

    private static float Middle(float[] column) => column.Max() * 0.5f + column.Min() * 0.5f;

    private static void Attend(ReadOnlySpan<float> q, float[] k, int channels, float[] v, float[] middles, int keys, int head, Span<float> y)
    {
        int width = q.Length, valueWidth = y.Length;
        float factor = 1 / MathF.Sqrt(width) * 1.442695041f, sum = 0, max = float.MinValue, offset = float.PositiveInfinity;
        float[] query = new float[width], scores = new float[Block], weights = new float[Block], outputs = new float[valueWidth];
        for (int c = 0; c < width; c++) query[c] = Round(q[c]);
        for (int first = 0; first < keys; first += Block)
        {
            int count = Math.Min(Block, keys - first);
            for (int j = 0; j < count; j++)
            {
                int row = (first + j) * channels + head * width;
                scores[j] = Sum(width, c => query[c], c => k[row + c]);
                max = Math.Max(max, scores[j]);
            }

            float next = 0 - max * factor, decay = Kernels.Numerics.Functions.Exp((next - offset) * 0.6931471806f);
            offset = next;
            for (int j = 0; j < count; j++) weights[j] = Round(Weight(MathF.FusedMultiplyAdd(scores[j], factor, offset)));
            sum = MathF.FusedMultiplyAdd(sum, decay, Sum(count, j => weights[j], _ => 1));
            for (int c = 0; c < valueWidth; c++)
            {
                int column = first * middles.Length + head * valueWidth + c;
                outputs[c] = MathF.FusedMultiplyAdd(outputs[c], decay, Sum(count, j => weights[j], j => v[column + j * middles.Length]));
            }
        }

        float inverse = 1 / sum;
        for (int c = 0; c < valueWidth; c++) y[c] = outputs[c] * inverse + middles[head * valueWidth + c];
    }

    // Pairs in order; of each first the second product, then the first. Products are exact.
    private static float Sum(int count, Func<int, float> left, Func<int, float> right)
    {
        float sum = 0;
        for (int i = 0; i < count; i += 2)
        {
            if (i + 1 < count) sum += left(i + 1) * right(i + 1);
            sum += left(i) * right(i);
        }

        return sum;
    }

    // 255·2^x, x ≤ 0.
    private static float Weight(float x)
    {
        float floor = MathF.Floor(x), r = x - floor;
        float p = MathF.FusedMultiplyAdd(19.89625358581543f, r, 57.647125244140625f);
        p = MathF.FusedMultiplyAdd(MathF.FusedMultiplyAdd(p, r, 177.4375457763672f), r, 254.98092651367188f);
        return MathF.ScaleB(p, (int)Math.Max(floor, -1000));
    }
}

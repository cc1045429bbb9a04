using LowBitDiffusion.Graphs;

namespace LowBitDiffusion.Execution.Reference;

/// <summary>Attention in 8-bit integers as <see cref="Kernels.Attention.Int8Attention"/> defines it, operation by operation; kernels must agree bit for bit given equal inputs.</summary>
internal static class QuantizedAttention
{
    private const int Block = 240;
    private const float Least = 1e-30f;

    /// <summary>Row-major queries, keys and values <c>[N, L, heads·width]</c>.</summary>
    public static float[] Run(AttentionOp op, float[] q, float[] k, float[] v, TensorShape queries, TensorShape values)
    {
        int length = queries[1], keys = values[1], channels = queries[2], valueChannels = values[2];
        float[] y = new float[queries[0] * length * valueChannels];
        for (int n = 0; n < queries[0]; n++)
        {
            Head all = new(k.AsSpan(n * keys * channels, keys * channels), v.AsSpan(n * keys * valueChannels, keys * valueChannels), keys, channels, valueChannels, op.Heads);
            for (int i = 0; i < length; i++)
            {
                for (int h = 0; h < op.Heads; h++) all.Attend(q.AsSpan((n * length + i) * channels, channels), y.AsSpan((n * length + i) * valueChannels, valueChannels), h);
            }
        }

        return y;
    }

    private static int Code(float x, float inverse) => (int)MathF.Round(MathF.FusedMultiplyAdd(x, inverse, 128), MidpointRounding.ToEven);

    private static float Largest(ReadOnlySpan<float> x)
    {
        float largest = 0;
        foreach (float value in x) largest = Math.Max(largest, Math.Abs(value));
        return largest;
    }

    // round(255·2^x), x ≤ 0.
    private static int Weight(float x)
    {
        float floor = MathF.Floor(x), r = x - floor;
        float p = MathF.FusedMultiplyAdd(19.89625358581543f, r, 57.647125244140625f);
        p = MathF.FusedMultiplyAdd(MathF.FusedMultiplyAdd(p, r, 177.4375457763672f), r, 254.98092651367188f);
        return (int)MathF.Round(MathF.ScaleB(p, (int)Math.Max(floor, -100)), MidpointRounding.ToEven);
    }

    /// <summary>An image's keys and values as codes.</summary>
    private sealed class Head
    {
        private readonly int[] _keyCodes;
        private readonly float[] _keyScales;
        private readonly int[] _valueCodes;
        private readonly float[] _middles;
        private readonly float[] _valueScales;
        private readonly int _keys;
        private readonly int _width;
        private readonly int _valueWidth;
        private readonly int _heads;

        public Head(ReadOnlySpan<float> k, ReadOnlySpan<float> v, int keys, int channels, int valueChannels, int heads)
        {
            (_keys, _width, _valueWidth, _heads) = (keys, channels / heads, valueChannels / heads, heads);
            (_keyCodes, _keyScales, _valueCodes) = (new int[k.Length], new float[keys * heads], new int[v.Length]);
            (_middles, _valueScales) = (new float[valueChannels], new float[valueChannels]);
            float[] centred = new float[k.Length];
            for (int c = 0; c < channels; c++)
            {
                float sum = 0;
                for (int j = 0; j < keys; j++) sum += k[j * channels + c];
                for (int j = 0; j < keys; j++) centred[j * channels + c] = k[j * channels + c] - sum / keys;
            }

            for (int row = 0; row < keys * heads; row++)
            {
                float largest = Largest(centred.AsSpan(row * _width, _width)), inverse = 127 / Math.Max(largest, Least);
                _keyScales[row] = largest / 127;
                for (int c = row * _width; c < (row + 1) * _width; c++) _keyCodes[c] = Code(centred[c], inverse) - 128;
            }

            for (int c = 0; c < valueChannels; c++)
            {
                float least = v[c], most = v[c];
                for (int j = 0; j < keys; j++) (least, most) = (Math.Min(least, v[j * valueChannels + c]), Math.Max(most, v[j * valueChannels + c]));
                float low = least * 0.5f, high = most * 0.5f;
                (_middles[c], _valueScales[c]) = (high + low, (high - low) / 127);
                for (int j = 0; j < keys; j++) _valueCodes[j * valueChannels + c] = Code(v[j * valueChannels + c] - _middles[c], 1 / Math.Max(_valueScales[c], Least)) - 128;
            }
        }

        public void Attend(ReadOnlySpan<float> q, Span<float> y, int head)
        {
            ReadOnlySpan<float> query = q.Slice(head * _width, _width);
            float largest = Largest(query), inverse = 127 / Math.Max(largest, Least), factor = largest / 127 * (1 / MathF.Sqrt(_width) * 1.442695041f);
            int[] codes = new int[_width], weights = new int[Block];
            for (int c = 0; c < _width; c++) codes[c] = Code(query[c], inverse) - 128;

            float[] scores = new float[Block], outputs = new float[_valueWidth];
            float sum = 0, max = float.MinValue, offset = float.PositiveInfinity;
            for (int first = 0; first < _keys; first += Block)
            {
                int count = Math.Min(Block, _keys - first);
                for (int j = 0; j < count; j++)
                {
                    int dot = 0, row = (first + j) * _heads + head;
                    for (int c = 0; c < _width; c++) dot += codes[c] * _keyCodes[row * _width + c];
                    scores[j] = dot * _keyScales[row];
                    max = Math.Max(max, scores[j]);
                }

                float next = 0 - max * factor, decay = Kernels.Numerics.Functions.Exp((next - offset) * 0.6931471806f);
                offset = next;
                for (int j = 0; j < count; j++) weights[j] = Weight(MathF.FusedMultiplyAdd(scores[j], factor, offset));
                sum = MathF.FusedMultiplyAdd(sum, decay, weights.Take(count).Sum());
                for (int c = 0; c < _valueWidth; c++)
                {
                    int mix = 0;
                    for (int j = 0; j < count; j++) mix += weights[j] * _valueCodes[((first + j) * _heads + head) * _valueWidth + c];
                    outputs[c] = MathF.FusedMultiplyAdd(outputs[c], decay, mix);
                }
            }

            float scale = 1 / sum;
            for (int c = 0, channel = head * _valueWidth; c < _valueWidth; c++, channel++) y[channel] = MathF.FusedMultiplyAdd(outputs[c] * scale, _valueScales[channel], _middles[channel]);
        }
    }
}

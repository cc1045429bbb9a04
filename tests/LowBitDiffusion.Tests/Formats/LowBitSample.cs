using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Quantized modules with numbers that differ everywhere.</summary>
internal static class LowBitSample
{
    public static readonly float[] Timesteps = [1, 250.5f, 999];

    public static QuantizedModule Module(
        string name,
        int bits,
        bool symmetric = true,
        int group = 0,
        int split = 0,
        bool splitScales = false,
        bool isStatic = false,
        bool channels = false,
        bool bias = true,
        int activationBits = 8,
        params int[] shape)
    {
        TensorShape weight = shape.Length == 0 ? new TensorShape(3, 4, 3, 3) : new TensorShape(shape);
        int n = weight[0], depth = (int)weight.Elements / n, taps = weight.Rank == 4 ? weight[2] * weight[3] : 1;
        int columns = group > 0 ? depth / group : splitScales ? 2 : 1, segments = split > 0 ? 2 : 1, entries = isStatic ? 1 : Timesteps.Length;
        byte[]? zeroPoints = symmetric ? null : [.. Enumerable.Range(0, n * columns).Select(i => (byte)((i * 5 + 1) & ((1 << bits) - 1)))];
        sbyte[] codes = new sbyte[weight.Elements];
        for (int i = 0; i < codes.Length; i++)
        {
            int k = i % depth, column = group > 0 ? k / group : splitScales && k / taps >= split ? 1 : 0;
            int code = (i * 7 + bits) & ((1 << bits) - 1);
            codes[i] = bits == 8 ? (sbyte)(code % 255 - 127) : (sbyte)(code - (zeroPoints?[i / depth * columns + column] ?? 1 << (bits - 1)));
        }

        return new QuantizedModule
        {
            Name = name,
            WeightShape = weight,
            WeightBits = bits,
            Codes = codes,
            WeightScales = [.. Enumerable.Range(1, n * columns).Select(i => 0.01f * i)],
            WeightZeroPoints = zeroPoints,
            GroupSize = group,
            SplitChannel = split,
            Input = new TimestepTable(
                isStatic ? [0] : Timesteps,
                [.. Enumerable.Range(1, entries * segments).Select(i => 0.001f * i)],
                [.. Enumerable.Range(0, entries * segments).Select(i => i % (1 << activationBits))],
                segments,
                activationBits),
            InputChannelScales = channels ? [.. Enumerable.Range(1, weight[1]).Select(i => 1f / i)] : null,
            Bias = bias ? [.. Enumerable.Range(0, n).Select(i => i - 1.5f)] : null,
        };
    }
}

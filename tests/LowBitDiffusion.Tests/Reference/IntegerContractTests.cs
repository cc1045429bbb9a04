using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Reference;

/// <summary>A module in integers computes what its codes and scales stand for, rounded as the contract says.</summary>
public sealed class IntegerContractTests
{
    [Test]
    public void Codes_round_half_to_even_and_saturate()
    {
        QuantizedModule module = Linear(codes: [1], weightScales: [1], Table(scale: 2, zeroPoint: 5, bits: 4));

        int[] codes = QuantizedArithmetic.Quantize(module, [1, 3, 5, -1, -3, 2.1f, 1e30f, -1e30f], batch: 8, timestep: 0);

        // x/2 = 0.5, 1.5, 2.5, −0.5, −1.5, 1.05
        Assert.That(codes, Is.EqualTo(new[] { 5, 7, 7, 5, 3, 6, 15, 0 }));
    }

    [Test]
    public void A_linear_layer_is_scale_times_the_corrected_sum_plus_bias()
    {
        QuantizedModule module = Linear(codes: [3, -7], weightScales: [0.5f], Table(scale: 0.25f, zeroPoint: 4, bits: 4), bias: [10]);

        // q = round(x/0.25) + 4 = 8, 2; Σ q·w = 24 − 14 = 10; z·W = 4·(−4) = −16; 26·0.125 + 10
        Assert.That(Run(module, [1, -0.5f]), Is.EqualTo(new[] { 13.25f }));
    }

    [Test]
    public void Zero_padding_has_the_code_that_stands_for_zero()
    {
        QuantizedModule module = new()
        {
            Name = "op",
            WeightShape = new(1, 1, 3, 3),
            WeightBits = 8,
            Codes = [1, 2, 3, 4, 5, 6, 7, 8, 9],
            WeightScales = [1],
            Input = Table(scale: 1, zeroPoint: 100, bits: 8),
        };
        GraphBuilder g = new();
        g.Output("out", g.Conv2d("op", g.Input("x", new(1, 1, 1, 1), Dependence.Sample), 1, 3));

        Assert.That(Run(g.Build(), module, [7]), Is.EqualTo(new[] { 35f }), "only the middle tap reads the pixel; the others must add nothing");
    }

    [Test]
    public void Each_timestep_has_its_own_scale_and_the_nearest_entry_serves_others([Values(0, 400, 999)] float timestep)
    {
        QuantizedModule module = Linear(codes: [1], weightScales: [1], new TimestepTable([0, 500, 999], [1, 2, 4], [0, 1, 2], segments: 1, bits: 8));
        float scale = timestep switch { 0 => 1, 400 => 2, _ => 4 };

        Assert.That(Run(module, [3], timestep), Is.EqualTo(new[] { MathF.Round(3 / scale) * scale }));
    }

    [Test]
    public void A_table_of_several_timesteps_needs_a_timestep()
    {
        QuantizedModule module = Linear(codes: [1], weightScales: [1], new TimestepTable([0, 500], [1, 2], [0, 1], segments: 1, bits: 8));

        Assert.That(() => Run(module, [3]), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("2 timesteps"));
    }

    [Test]
    public void Input_channels_are_divided_by_their_scales()
    {
        QuantizedModule module = new()
        {
            Name = "op",
            WeightShape = new(1, 2),
            WeightBits = 8,
            Codes = [1, 1],
            WeightScales = [1],
            Input = Table(scale: 1, zeroPoint: 0, bits: 8),
            InputChannelScales = [1, 10],
        };

        Assert.That(Run(module, [4, 40]), Is.EqualTo(new[] { 8f }));
    }

    [TestCase(0, 0, TestName = "one scale")]
    [TestCase(2, 0, TestName = "groups")]
    [TestCase(0, 3, TestName = "a split")]
    [TestCase(2, 3, TestName = "a split within a group")]
    public void Ranges_of_channels_have_their_own_scales(int groupSize, int splitChannel)
    {
        const int channels = 6;
        int groups = groupSize > 0 ? channels / groupSize : splitChannel > 0 ? 2 : 1, inputSegments = splitChannel > 0 ? 2 : 1;
        float[] weightScales = [.. Enumerable.Range(0, groups).Select(i => 0.5f + i)];
        float[] inputScales = [.. Enumerable.Range(0, inputSegments).Select(i => 0.25f * (i + 1))];
        int[] zeroPoints = [.. Enumerable.Range(0, inputSegments).Select(i => 100 + i)];
        sbyte[] codes = [3, -5, 7, -9, 11, -13];
        float[] x = [1, 2, -3, 4, -5, 6];
        QuantizedModule module = new()
        {
            Name = "op",
            WeightShape = new(1, channels),
            WeightBits = 8,
            Codes = codes,
            WeightScales = weightScales,
            GroupSize = groupSize,
            SplitChannel = splitChannel,
            Input = new TimestepTable([0], inputScales, zeroPoints, inputSegments, bits: 8),
        };

        double expected = 0;
        for (int c = 0; c < channels; c++)
        {
            int half = splitChannel > 0 && c >= splitChannel ? 1 : 0;
            expected += x[c] * codes[c] * weightScales[groupSize > 0 ? c / groupSize : half];
        }

        // Every x is a multiple of its scale, so that nothing is lost in quantization.
        Assert.That(Run(module, x).Single(), Is.EqualTo((float)expected));
    }

    private static float[] Run(QuantizedModule module, float[] x, float? timestep = null)
    {
        GraphBuilder g = new();
        g.Output("out", g.Linear("op", g.Input("x", new(1, x.Length), Dependence.Sample), module.OutChannels));
        return Run(g.Build(), module, x, timestep);
    }

    private static float[] Run(Graph graph, QuantizedModule module, float[] x, float? timestep = null)
    {
        ModelWeights weights = new(new InMemoryTensors(), quantized: new Dictionary<string, QuantizedModule> { [module.Name] = module });
        return ReferenceExecutor.Run(graph, weights, new Dictionary<string, float[]> { ["x"] = x }, timestep)["out"];
    }

    private static QuantizedModule Linear(sbyte[] codes, float[] weightScales, TimestepTable input, float[]? bias = null) => new()
    {
        Name = "op",
        WeightShape = new(weightScales.Length, codes.Length / weightScales.Length),
        WeightBits = 8,
        Codes = codes,
        WeightScales = weightScales,
        Input = input,
        Bias = bias,
    };

    private static TimestepTable Table(float scale, int zeroPoint, int bits) => new([0], [scale], [zeroPoint], segments: 1, bits);
}

using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.RandomWeights;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Models;

/// <summary>Arithmetic of a network, counted by hand for a small one: positions times weights, queries times keys, and the bits of both factors.</summary>
public sealed class NetworkCostTests
{
    // Over 4x6 pixels: a 3x3 convolution 2 → 8, attention of 24 pixels to 5 tokens of text, whose keys are computed before the loop, a 1x1 convolution 8 → 2.
    private const long First = 24 * 2 * 9 * 8, Text = 5 * 3 * 8, Query = 24 * 8 * 8, Attention = 2 * 24 * 5 * 8, Last = 24 * 8 * 2;

    [TestCase(1)]
    [TestCase(3)]
    public void A_float_network_has_32_bits_everywhere(int batch)
    {
        Graph graph = Network(batch);

        NetworkCost cost = NetworkCost.Of(graph, new ModelWeights(new RandomTensors(graph, seed: 0)));

        Assert.Multiple(() =>
        {
            Assert.That(cost.Modules.Select(module => (module.Name, module.Macs, module.InLoop)),
                Is.EqualTo(new[] { ("text", Text, false), ("first", First, true), ("query", Query, true), ("last", Last, true) }), "of one image, whatever the batch");
            Assert.That(cost.MacsPerStep, Is.EqualTo(First + Query + Attention + Last), "without the text");
            Assert.That(cost.BitOperationsPerStep, Is.EqualTo(32 * 32 * cost.MacsPerStep));
            Assert.That(cost.FloatBitOperationsPerStep, Is.EqualTo(cost.BitOperationsPerStep));
        });
    }

    [TestCase(AttentionPrecision.Float, 32)]
    [TestCase(AttentionPrecision.Int8, 8)]
    [TestCase(AttentionPrecision.Bf16, 16)]
    public void Modules_and_attentions_in_integers_have_their_bits(AttentionPrecision precision, int bits)
    {
        Graph graph = Network(batch: 1);
        QuantizedModule query = RandomQuantized.Modules(graph, new ModulePrecision(4, 0, true, 6), seed: 0)["query"];
        ModelWeights weights = new(new RandomTensors(graph, seed: 0), null, new Dictionary<string, QuantizedModule> { ["query"] = query }, precision);

        NetworkCost cost = NetworkCost.Of(graph, weights);

        long inFloat = (First + Last) * 32 * 32, attention = Attention * bits * bits;
        Assert.That(cost.BitOperationsPerStep, Is.EqualTo(inFloat + attention + Query * 4 * 6), "the others stay in float");
        Assert.That(cost.FloatBitOperationsPerStep, Is.EqualTo(inFloat + (bits == 32 ? attention : 0)));
    }

    private static Graph Network(int batch)
    {
        GraphBuilder g = new();
        Node sample = g.Input("sample", new(batch, 2, 4, 6), Dependence.Sample), text = g.Input("encoder_hidden_states", new(batch, 5, 3), Dependence.Condition);
        Node keys = g.Linear("text", text, 8), tokens = g.ToTokens(g.Conv2d("first", sample, 8, 3));
        Node attended = g.Attention(g.Linear("query", tokens, 8), keys, keys, heads: 2);
        g.Output("sample", g.Conv2d("last", g.ToImage(attended, 4, 6), 2, 1));
        return g.Build();
    }
}

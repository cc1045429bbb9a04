using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Models;

/// <summary>What executors rely on: what can be prepared before the loop depends on no sample, and a part of a graph has nothing that only other outputs need.</summary>
public sealed class GraphStructureTests
{
    [TestCase("unet2d_class")]
    [TestCase("unet2dcond_sdxl")]
    [TestCase("dit_adaln_zero")]
    [TestCase("pixart")]
    public void Embeddings_and_modulations_do_not_depend_on_the_sample(string golden)
    {
        Graph graph = Build(golden);

        Node[] conditioned = [.. graph.Nodes.Where(node => node.Op is ModuleOp op && (op.Module.Contains("time_emb") || op.Module.Contains("norm1.linear") || op.Module.Contains("adaln_single") || op.Module.Contains("attn2.to_k")))];

        Assert.That(conditioned, Is.Not.Empty);
        Assert.That(conditioned.Where(node => node.Dependence.HasFlag(Dependence.Sample)), Is.Empty);
    }

    [Test]
    public void A_selected_output_leaves_the_rest_behind()
    {
        Graph whole = Build("clip_text_proj");

        Graph part = whole.Select("penultimate_hidden_state");

        Assert.Multiple(() =>
        {
            Assert.That(part.Outputs.Keys, Is.EquivalentTo(new[] { "penultimate_hidden_state" }));
            Assert.That(part.Parameters.Select(parameter => parameter.Name), Has.None.Contains("encoder.layers.2").And.None.Contains("text_projection").And.Some.Contains("encoder.layers.1"));
            Assert.That(part.Taps.Keys, Has.None.Contains("encoder.layers.2"));
            Assert.That(part.Nodes, Is.SubsetOf(whole.Nodes));
        });
    }

    [Test]
    public void An_output_that_is_not_there_is_named() =>
        Assert.That(() => Build("clip_text").Select("text_embeds"), Throws.TypeOf<GraphException>().With.Message.Contains("text_embeds").And.Message.Contains("pooled"));

    private static Graph Build(string golden)
    {
        INetwork network = NetworkRegistry.Create(JsonConfig.Open(Repository.Golden(golden, "config.json")));
        return network.Build(network.NativeInputs(batch: 1));
    }
}

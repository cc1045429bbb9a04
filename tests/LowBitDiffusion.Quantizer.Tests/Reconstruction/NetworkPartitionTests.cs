using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Reconstruction;
using LowBitDiffusion.Quantizer.Tests.Autograd;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Reconstruction;

/// <summary>Networks fall into the units that the papers name.</summary>
internal sealed class NetworkPartitionTests
{
    [Test]
    public void A_unet_is_blocks_layers_and_one_temporal_unit()
    {
        string[] expected =
        [
            "temporal Temporal", "conv_in Layer", "down_blocks.0.resnets.0 ResnetBlock", "down_blocks.0.downsamplers.0.conv Layer",
            "down_blocks.1.resnets.0 ResnetBlock", "down_blocks.1.attentions.0 AttentionBlock",
            "mid_block.resnets.0 ResnetBlock", "mid_block.attentions.0 AttentionBlock", "mid_block.resnets.1 ResnetBlock",
            "up_blocks.0.resnets.0 ResnetBlock", "up_blocks.0.attentions.0 AttentionBlock", "up_blocks.0.resnets.1 ResnetBlock", "up_blocks.0.attentions.1 AttentionBlock",
            "up_blocks.0.upsamplers.0.conv Layer", "up_blocks.1.resnets.0 ResnetBlock", "up_blocks.1.resnets.1 ResnetBlock", "conv_out Layer",
        ];
        IReadOnlyList<ReconstructionUnit> units = NetworkPartition.Of(Graph(Networks.TinyUNet()));
        Assert.That(units.Select(unit => $"{unit.Name} {unit.Kind}"), Is.EqualTo(expected));
        Assert.That(units[0].Modules, Has.All.Matches<string>(name => name!.StartsWith("time_embedding.") || name.EndsWith(".time_emb_proj")), "layers of the temporal unit");
        Assert.That(units[2].Modules, Is.EquivalentTo(new[] { "down_blocks.0.resnets.0.conv1", "down_blocks.0.resnets.0.conv2" }), "layers of a ResNet block");
    }

    [Test]
    public void Without_a_temporal_unit_each_block_keeps_its_projection()
    {
        IReadOnlyList<ReconstructionUnit> units = NetworkPartition.Of(Graph(Networks.TinyUNet()), separateTemporal: false);
        Assert.That(units.Select(unit => unit.Name), Does.Not.Contain("temporal").And.Contains("time_embedding.linear_1").And.Contains("time_embedding.linear_2"));
        Assert.That(units.Single(unit => unit.Name == "mid_block.resnets.1").Modules, Does.Contain("mid_block.resnets.1.time_emb_proj"));
    }

    [Test]
    public void A_dit_is_blocks_between_patches_and_projection()
    {
        string[] expected = ["temporal Temporal", "pos_embed.proj Layer", "transformer_blocks.0 DitBlock", "transformer_blocks.1 DitBlock", "proj_out_2 Layer"];
        IReadOnlyList<ReconstructionUnit> units = NetworkPartition.Of(Graph(Networks.TinyDiT()));
        Assert.That(units.Select(unit => $"{unit.Name} {unit.Kind}"), Is.EqualTo(expected));
        Assert.That(units[0].Outputs, Has.Count.EqualTo(2 * 6 + 2), "six vectors of each block, two of the last norm");
    }

    [Test]
    public void An_autoencoder_is_the_blocks_and_layers_of_both_halves()
    {
        string[] units = [.. NetworkPartition.Of(Graph(Golden("vae_kl"))).Select(unit => $"{unit.Name} {unit.Kind}")];
        foreach (string half in new[] { "encoder", "decoder" })
            Assert.That(units, Has.Member($"{half}.conv_in Layer").And.Member($"{half}.mid_block.resnets.0 ResnetBlock").And.Member($"{half}.mid_block.attentions.0 AttentionBlock").And.Member($"{half}.conv_out Layer"));
        Assert.That(units, Has.Member("quant_conv Layer").And.Member("post_quant_conv Layer").And.Member("decoder.up_blocks.0.upsamplers.0.conv Layer").And.None.EndsWith("Temporal"));
    }

    [Test]
    public void A_text_encoder_is_layers_and_a_projection()
    {
        string[] expected = [.. Enumerable.Range(0, 3).Select(i => $"text_model.encoder.layers.{i} TransformerBlock"), "text_projection Layer"];
        IReadOnlyList<ReconstructionUnit> units = NetworkPartition.Of(Graph(Golden("clip_text_proj")));
        Assert.That(units.Select(unit => $"{unit.Name} {unit.Kind}"), Is.EqualTo(expected));
        Assert.That(units[0].Modules, Has.Count.EqualTo(6), "attention's four layers and the two behind it");
    }

    public static IEnumerable<TestCaseData> GoldenNetworks()
    {
        foreach (string name in new[] { "unet2d_scale_shift", "unet2d_attn_resnet", "unet2dcond_sd15", "unet2dcond_sdxl", "dit_adaln_zero", "pixart", "vae_kl", "vq", "clip_text", "clip_text_proj" })
        {
            foreach (bool separate in new[] { true, false }) yield return new TestCaseData(name, separate).SetArgDisplayNames(name, separate ? "temporal unit" : "no temporal unit");
        }
    }

    [TestCaseSource(nameof(GoldenNetworks))]
    public void Units_hold_every_layer_once_and_compute_the_network(string name, bool separateTemporal)
    {
        using WorkerPool pool = new(2);
        INetwork network = Golden(name);
        Graph graph = Graph(network);
        IReadOnlyList<ReconstructionUnit> units = NetworkPartition.Of(graph, separateTemporal);
        Assert.That(units.SelectMany(unit => unit.Modules), Is.EquivalentTo(graph.MatrixNodes.Select(node => ((MatrixOp)node.Op).Module).Distinct()), "every layer is in one unit");
        if (name.StartsWith("unet2dcond")) Assert.That(units.Count(unit => unit.Kind == UnitKind.TransformerBlock), Is.GreaterThan(2), "transformer blocks");
        if (name is "pixart") Assert.That(units.Count(unit => unit.Kind == UnitKind.DitBlock), Is.GreaterThan(1), "blocks modulated by the timestep");

        GradientExecutor executor = new(new TrainingModel(Networks.RandomWeights(graph, 1)), pool);
        Dictionary<Node, float[]> rows = GradientExecutor.Rows(graph, Networks.RandomInputs(graph, 2));
        Tape whole = executor.Run(rows, [.. units.SelectMany(unit => unit.Inputs.Concat(unit.Outputs)).Distinct()]);
        foreach (ReconstructionUnit unit in units)
        {
            Tape alone = executor.Run(unit.Inputs.ToDictionary(node => node, node => whole[node]), unit.Outputs.ToArray());
            foreach (Node output in unit.Outputs) Assert.That(alone[output], Is.EqualTo(whole[output]), $"{unit.Name} from its inputs alone");
        }
    }

    private static INetwork Golden(string name) => NetworkRegistry.Create(JsonConfig.Open(Repository.Golden(name, "config.json")));

    private static Graph Graph(INetwork network) => network.Build(network.WholeInputs(2)).Select(network.MainOutputs);
}

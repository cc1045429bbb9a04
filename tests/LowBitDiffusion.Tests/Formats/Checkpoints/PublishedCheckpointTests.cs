using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Formats.Checkpoints;
using LowBitDiffusion.Formats.Presets;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>Checkpoints with the names and shapes of the published models, without their weights: all of it is recognized, and the configurations are the published ones.</summary>
[TestFixture]
public sealed class PublishedCheckpointTests
{
    private static readonly Dictionary<string, SingleFileCheckpoint> s_opened = [];

    [TestCase("sd15", 859_520_964 + 83_653_863 + 123_060_480)]
    [TestCase("sd21", 865_910_724 + 83_653_863 + 340_387_840)]
    [TestCase("sdxl", 2_567_463_684 + 83_653_863 + 123_060_480 + 694_659_840)]
    public void Shapes_tell_the_published_configuration(string name, long parameters)
    {
        JsonObject published = ModelPreset.Read(name);
        SingleFileCheckpoint checkpoint = Open(name, out OriginalCheckpoint original);
        Assert.That(checkpoint.Architecture, Is.EqualTo(name));
        Assert.That(original.Networks.Values.Sum(network => network.Tensors.Values.Sum(info => info.Elements)), Is.EqualTo(parameters), "parameters of all networks");
        foreach ((string component, ITensorSource network) in original.Networks)
        {
            JsonNode config = JsonNode.Parse(checkpoint.Read(component, "config.json"))!;
            foreach ((string key, JsonNode? value) in published[component]!.AsObject())
                Assert.That(Expand(config[key]), Is.EqualTo(Expand(value)), $"{component}: {key}");
            Assert.That(checkpoint.ViewsOf(component).Keys.Select(Bare), Is.EquivalentTo(network.Tensors.Keys.Select(Bare)), $"{component}: tensors");
        }
    }

    // Written by hand from the naming of the training code, not through the inverse that makes the checkpoint.
    [TestCase("sd15", "unet", "time_embedding.linear_1.weight", "model.diffusion_model.time_embed.0.weight")]
    [TestCase("sd15", "unet", "conv_in.bias", "model.diffusion_model.input_blocks.0.0.bias")]
    [TestCase("sd15", "unet", "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k.weight", "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight")]
    [TestCase("sd15", "unet", "down_blocks.0.downsamplers.0.conv.weight", "model.diffusion_model.input_blocks.3.0.op.weight")]
    [TestCase("sd15", "unet", "down_blocks.1.resnets.0.conv_shortcut.weight", "model.diffusion_model.input_blocks.4.0.skip_connection.weight")]
    [TestCase("sd15", "unet", "down_blocks.3.resnets.1.norm2.weight", "model.diffusion_model.input_blocks.11.0.out_layers.0.weight")]
    [TestCase("sd15", "unet", "mid_block.resnets.1.conv2.weight", "model.diffusion_model.middle_block.2.out_layers.3.weight")]
    [TestCase("sd15", "unet", "up_blocks.0.upsamplers.0.conv.weight", "model.diffusion_model.output_blocks.2.1.conv.weight")]
    [TestCase("sd15", "unet", "up_blocks.1.upsamplers.0.conv.weight", "model.diffusion_model.output_blocks.5.2.conv.weight")]
    [TestCase("sd15", "unet", "up_blocks.3.attentions.2.proj_out.weight", "model.diffusion_model.output_blocks.11.1.proj_out.weight")]
    [TestCase("sd15", "unet", "up_blocks.2.resnets.0.time_emb_proj.bias", "model.diffusion_model.output_blocks.6.0.emb_layers.1.bias")]
    [TestCase("sd15", "unet", "conv_norm_out.weight", "model.diffusion_model.out.0.weight")]
    [TestCase("sd15", "vae", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight", "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight")]
    [TestCase("sd15", "vae", "encoder.down_blocks.0.downsamplers.0.conv.bias", "first_stage_model.encoder.down.0.downsample.conv.bias")]
    [TestCase("sd15", "vae", "encoder.mid_block.attentions.0.to_q.weight", "first_stage_model.encoder.mid.attn_1.q.weight")]
    [TestCase("sd15", "vae", "decoder.mid_block.attentions.0.to_out.0.bias", "first_stage_model.decoder.mid.attn_1.proj_out.bias")]
    [TestCase("sd15", "vae", "decoder.mid_block.attentions.0.group_norm.weight", "first_stage_model.decoder.mid.attn_1.norm.weight")]
    [TestCase("sd15", "vae", "decoder.up_blocks.0.resnets.2.conv1.weight", "first_stage_model.decoder.up.3.block.2.conv1.weight")]
    [TestCase("sd15", "vae", "decoder.up_blocks.2.upsamplers.0.conv.weight", "first_stage_model.decoder.up.1.upsample.conv.weight")]
    [TestCase("sd15", "vae", "post_quant_conv.weight", "first_stage_model.post_quant_conv.weight")]
    [TestCase("sd15", "text_encoder", "text_model.encoder.layers.11.mlp.fc2.weight", "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc2.weight")]
    [TestCase("sd21", "text_encoder", "text_model.encoder.layers.22.self_attn.k_proj.weight", "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_weight")]
    [TestCase("sd21", "text_encoder", "text_model.embeddings.position_embedding.weight", "cond_stage_model.model.positional_embedding")]
    [TestCase("sd21", "text_encoder", "text_model.final_layer_norm.bias", "cond_stage_model.model.ln_final.bias")]
    [TestCase("sdxl", "unet", "add_embedding.linear_2.weight", "model.diffusion_model.label_emb.0.2.weight")]
    [TestCase("sdxl", "unet", "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj.weight", "model.diffusion_model.input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight")]
    [TestCase("sdxl", "unet", "up_blocks.0.upsamplers.0.conv.bias", "model.diffusion_model.output_blocks.2.2.conv.bias")]
    [TestCase("sdxl", "text_encoder", "text_model.embeddings.token_embedding.weight", "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight")]
    [TestCase("sdxl", "text_encoder_2", "text_projection.weight", "conditioner.embedders.1.model.text_projection")]
    [TestCase("sdxl", "text_encoder_2", "text_model.encoder.layers.31.layer_norm2.weight", "conditioner.embedders.1.model.transformer.resblocks.31.ln_2.weight")]
    [TestCase("sdxl", "text_encoder_2", "text_model.encoder.layers.0.self_attn.v_proj.bias", "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_bias")]
    public void Tensors_are_found_under_published_names(string model, string component, string name, string original)
        => Assert.That(Open(model, out _).ViewsOf(component)[name].Source, Is.EqualTo(original));

    [TestCase("sd15", "epsilon", "PNDMScheduler")]
    [TestCase("sd21", "v_prediction", "DDIMScheduler")]
    [TestCase("sdxl", "epsilon", "EulerDiscreteScheduler")]
    public void The_scheduler_is_the_published_one(string name, string prediction, string scheduler)
    {
        JsonConfig config = Open(name, out _).Config("scheduler", "scheduler_config.json");
        Assert.That((config.GetString("prediction_type"), config.GetString("_class_name")), Is.EqualTo((prediction, scheduler)));
    }

    private static SingleFileCheckpoint Open(string name, out OriginalCheckpoint original)
    {
        JsonObject preset = ModelPreset.Read(name);
        string[] networks = [.. new[] { "unet", "vae", "text_encoder", "text_encoder_2" }.Where(preset.ContainsKey)];
        original = OriginalCheckpoint.Create(networks.ToDictionary(component => component, component => preset[component]!.DeepClone().AsObject()), openClip: name == "sd21");
        if (!s_opened.TryGetValue(name, out SingleFileCheckpoint? checkpoint)) s_opened.Add(name, checkpoint = new SingleFileCheckpoint(name, new InMemoryShapes(original), new()));
        return checkpoint;
    }

    // One number for all blocks and a list of equal numbers mean the same.
    private static string Expand(JsonNode? value) => value is JsonArray array && array.Select(item => item!.ToJsonString()).Distinct().Count() == 1 ? array[0]!.ToJsonString() : value?.ToJsonString() ?? "";

    private static string Bare(string name) => name.Replace("text_model.", "", StringComparison.Ordinal);
}

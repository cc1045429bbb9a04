using System.Text.Json;
using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Models;

/// <summary>A configuration that this library cannot run exactly is refused with an error that names the key and what is supported; it never builds something else.</summary>
public sealed class NetworkConfigurationTests
{
    [TestCase("unet2d_class", "_class_name", "\"FluxTransformer2DModel\"", "UNet2DModel", TestName = "an unknown class lists the known ones")]
    [TestCase("unet2d_class", "down_block_types", "[\"SkipDownBlock2D\", \"DownBlock2D\", \"DownBlock2D\"]", "AttnDownBlock2D", TestName = "an unknown block lists the known ones")]
    [TestCase("unet2d_class", "down_block_types", "[\"DownBlock2D\"]", "3 blocks", TestName = "blocks must be as many as their channels")]
    [TestCase("unet2d_class", "class_embed_type", "\"projection\"", "timestep", TestName = "an unknown label embedding lists the known ones")]
    [TestCase("unet2d_class", "act_fn", "\"mish\"", "silu", TestName = "an unknown activation lists the known ones")]
    [TestCase("unet2d_class", "downsample_padding", "2", "0, 1", TestName = "a padding that was never seen")]
    [TestCase("unet2d_class", "new_setting", "0.5", "new_setting", TestName = "a setting that nobody knows")]
    [TestCase("unet2d_class", "block_out_channels", "[]", "block_out_channels", TestName = "no blocks")]
    [TestCase("unet2d_class", "block_out_channels", "[16, 0, 32]", "block_out_channels", TestName = "a block without channels")]
    [TestCase("unet2d_class", "layers_per_block", "2000000000", "layers_per_block", TestName = "more layers than any network has")]
    [TestCase("unet2d_class", "sample_size", "-1", "sample_size", TestName = "a negative size")]
    [TestCase("unet2d_class", "norm_num_groups", "null", "norm_num_groups", TestName = "null where a number is needed")]
    [TestCase("unet2dcond_sd15", "encoder_hid_dim_type", "\"text_proj\"", "encoder_hid_dim_type", TestName = "a second text projection")]
    [TestCase("unet2dcond_sd15", "dual_cross_attention", "true", "dual_cross_attention", TestName = "attention to two texts")]
    [TestCase("unet2dcond_sd15", "addition_embed_type", "\"image\"", "text_time", TestName = "an unknown addition to the time embedding")]
    [TestCase("unet2dcond_sd15", "cross_attention_dim", "[16, 32, 32, 32]", "cross_attention_dim", TestName = "several widths of text")]
    [TestCase("unet2dcond_sdxl", "projection_class_embeddings_input_dim", "12", "at least 49", TestName = "no room for the pooled text")]
    [TestCase("dit_adaln_zero", "norm_type", "\"layer_norm\"", "ada_norm_zero", TestName = "another conditioning of a transformer")]
    [TestCase("dit_adaln_zero", "activation_fn", "\"geglu\"", "gelu-approximate", TestName = "another feed-forward")]
    [TestCase("pixart", "use_additional_conditions", "true", "three", TestName = "a width that has no thirds for the sizes")]
    [TestCase("vae_kl", "up_block_types", "[\"UpDecoderBlock2D\", \"UpBlock2D\", \"UpDecoderBlock2D\"]", "AttnUpDecoderBlock2D", TestName = "another autoencoder block")]
    [TestCase("vae_kl", "latents_mean", "[0.1]", "latents_mean", TestName = "a latent that is normalised")]
    [TestCase("vq", "lookup_from_codebook", "true", "lookup_from_codebook", TestName = "a decoder of codes")]
    [TestCase("vq", "norm_type", "\"spatial\"", "group", TestName = "another norm")]
    [TestCase("clip_text", "hidden_act", "\"relu\"", "quick_gelu", TestName = "another activation of a text encoder")]
    public void Is_refused(string golden, string key, string value, string named)
    {
        string origin = Repository.Golden(golden, "config.json");
        JsonObject config = JsonNode.Parse(File.ReadAllText(origin))!.AsObject();
        config[key] = JsonNode.Parse(value);

        Assert.That(
            () => NetworkRegistry.Create(JsonConfig.Parse("some/config.json", config.ToJsonString())),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("some/config.json").And.Message.Contains(named));
    }

    [TestCase("unet2d_class", "{\"attention_head_dim\": null}")]
    [TestCase("unet2d_class", "{\"mid_block_type\": null}")]
    [TestCase("unet2d_class", "{\"time_embedding_type\": \"fourier\"}")]
    [TestCase("unet2d_class", "{\"sample_size\": [16, 24]}")]
    [TestCase("unet2d_attn_resnet", "{\"attn_norm_num_groups\": 4}")]
    [TestCase("unet2d_attn_resnet", "{\"center_input_sample\": true}")]
    [TestCase("unet2dcond_sd15", "{\"num_class_embeds\": 7}")]
    [TestCase("unet2dcond_sd15", "{\"layers_per_block\": [1, 2, 1, 2]}")]
    [TestCase("unet2dcond_sd15", "{\"time_cond_proj_dim\": 8}")]
    [TestCase("pixart", "{\"use_additional_conditions\": true, \"num_attention_heads\": 3}")]
    [TestCase("vae_kl", "{\"use_quant_conv\": false}")]
    [TestCase("vae_kl", "{\"down_block_types\": [\"DownEncoderBlock2D\", \"DownEncoderBlock2D\", \"AttnDownEncoderBlock2D\"]}")]
    public void Is_built(string golden, string changes)
    {
        JsonObject config = JsonNode.Parse(File.ReadAllText(Repository.Golden(golden, "config.json")))!.AsObject();
        foreach ((string key, JsonNode? value) in JsonNode.Parse(changes)!.AsObject()) config[key] = value?.DeepClone();
        INetwork network = NetworkRegistry.Create(JsonConfig.Parse("some/config.json", config.ToJsonString()));

        Graph graph = network.Build(network.NativeInputs(batch: 2));

        Assert.That(graph.Inputs.Keys, Is.EquivalentTo(network.NativeInputs(batch: 2).Keys));
        Assert.That(graph.Outputs, Is.Not.Empty);
    }

    public static IEnumerable<string> Configurations()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllBytes(Repository.Golden("index.json")));
        return [.. index.RootElement.GetProperty("cases").EnumerateArray()
            .Where(entry => entry.GetProperty("kind").GetString() == "model" && NetworkRegistry.ClassNames.Contains(entry.GetProperty("class").GetString()))
            .Select(entry => entry.GetProperty("name").GetString()!)];
    }

    [TestCaseSource(nameof(Configurations))]
    public void Any_one_value_replaced_by_nonsense_builds_or_is_refused_with_a_typed_error(string golden)
    {
        JsonObject config = JsonNode.Parse(File.ReadAllText(Repository.Golden(golden, "config.json")))!.AsObject();
        string[] nonsense = ["null", "-1", "0", "1", "3", "2000000000", "1e300", "\"x\"", "true", "false", "[]", "[0]", "[null]", "{}"];
        List<string> crashes = [];
        foreach (string key in config.Select(pair => pair.Key).ToArray())
        {
            foreach (string value in nonsense)
            {
                JsonObject changed = config.DeepClone().AsObject();
                changed[key] = JsonNode.Parse(value);
                try
                {
                    INetwork network = NetworkRegistry.Create(JsonConfig.Parse("some/config.json", changed.ToJsonString()));
                    network.Build(network.NativeInputs(batch: 1));
                }
                catch (Exception e) when (e is not LowBitDiffusionException)
                {
                    crashes.Add($"{key} = {value}: {e.GetType().Name} {e.Message}");
                }
                catch (LowBitDiffusionException)
                {
                    // What is asked for.
                }
            }
        }

        Assert.That(crashes, Is.Empty);
    }

    [TestCase("unet2d_class", "sample", 2, 1, 15, 16, TestName = "a size that does not halve")]
    [TestCase("unet2d_class", "sample", 2, 3, 16, 16, TestName = "other channels")]
    [TestCase("unet2d_class", "timestep", 2, 1, TestName = "a timestep of two dimensions")]
    [TestCase("unet2d_scale_shift", "sample", 2, 3, 1, 1, TestName = "an image without blocks of four pixels")]
    [TestCase("unet2dcond_sd15", "encoder_hidden_states", 2, 13, 33, TestName = "another width of text")]
    [TestCase("dit_adaln_zero", "sample", 2, 4, 15, 16, TestName = "an image that is not made of patches")]
    [TestCase("clip_text", "input_ids", 2, 78, TestName = "a text longer than the table of places")]
    public void Inputs_that_do_not_fit_are_refused(string golden, string input, params int[] shape)
    {
        INetwork network = NetworkRegistry.Create(JsonConfig.Open(Repository.Golden(golden, "config.json")));
        Dictionary<string, TensorShape> inputs = new(network.NativeInputs(batch: 2)) { [input] = new(shape) };

        Assert.That(() => network.Build(inputs), Throws.TypeOf<GraphException>());
    }

    [Test]
    public void An_input_left_out_is_named()
    {
        INetwork network = NetworkRegistry.Create(JsonConfig.Open(Repository.Golden("unet2d_class", "config.json")));

        Assert.That(() => network.Build(new Dictionary<string, TensorShape> { ["sample"] = new(1, 1, 16, 16) }), Throws.TypeOf<GraphException>().With.Message.Contains("timestep"));
    }
}

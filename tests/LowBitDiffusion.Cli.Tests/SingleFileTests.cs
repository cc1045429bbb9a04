using System.Text.Json.Nodes;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Formats.Presets;
using LowBitDiffusion.Imaging;
using LowBitDiffusion.Models.RandomWeights;
using LowBitDiffusion.Tests.Formats.Checkpoints;

namespace LowBitDiffusion.Cli.Tests;

/// <summary>
/// <c>lbd generate</c> draws the same picture with a diffusers folder, a single file with the training code's names and its PyTorch archive. The files' names are made from the folder's by a
/// table that was written independently of the reader's; sizes are tiny, everything else is as published.
/// </summary>
public sealed class SingleFileTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [TestCase(ModelPreset.StableDiffusion15)]
    [TestCase(ModelPreset.StableDiffusion21)]
    [TestCase(ModelPreset.StableDiffusionXL)]
    public async Task Folder_file_and_archive_draw_the_same_picture(string family)
    {
        JsonObject model = Tiny(family);
        RandomModelFolder.Write(model, family, _folder["model"], new RandomModelOptions { FloatType = DType.F16 }, progress: null, CancellationToken.None);
        Dictionary<string, JsonObject> configs = new[] { "unet", "vae", "text_encoder", "text_encoder_2" }.Where(model.ContainsKey).ToDictionary(name => name, name => model[name]!.AsObject());
        List<ComponentFolder> opened = [];
        OriginalCheckpoint checkpoint = OriginalCheckpoint.Create(configs, openClip: family == ModelPreset.StableDiffusion21, component =>
        {
            opened.Add(ModelFolder.Open(_folder["model"]).OpenComponent(component));
            return opened[^1].Weights;
        }).AddAverage(0.5f);
        checkpoint.WriteSafeTensors(_folder["model.safetensors"], DType.F16);
        checkpoint.WriteArchive(_folder["model.ckpt"], DType.F16, trainingStep: 470000);
        opened.ForEach(component => component.Dispose());

        Image folder = await Draw("model", "a red bicycle"), other = await Draw("model", "an owl");

        Assert.That(folder.Pixels.Distinct().Count(), Is.GreaterThan(32), "values of a picture that shows something");
        Assert.That(other.Pixels, Is.Not.EqualTo(folder.Pixels), "the picture of another text");
        foreach (string file in new[] { "model.safetensors", "model.ckpt" })
            Assert.That((await Draw(file, "a red bicycle")).Pixels, Is.EqualTo(folder.Pixels), $"{file} draws the folder's picture");
    }

    private async Task<Image> Draw(string model, string prompt)
    {
        string picture = _folder[$"{model}.png"];
        await Lbd.SucceedAsync("generate", "--model", _folder[model], "--prompt", prompt, "--steps", "2", "--height", "64", "--width", "64", "--scale", "1", "--seed", "3", "--out", picture);
        return PngReader.Load(picture).Image;
    }

    // What does not show in shapes (heads, groups, activations) is as the published model has it; heads of text encoders have 64 channels.
    private static JsonObject Tiny(string family)
    {
        const int text = 64, timeFeatures = 32, sizes = 6;
        bool two = family == ModelPreset.StableDiffusionXL;
        JsonObject model = ModelPreset.Read(family);
        JsonObject unet = model["unet"]!.AsObject();
        int levels = unet["block_out_channels"]!.AsArray().Count;
        unet["block_out_channels"] = new JsonArray([.. Enumerable.Range(0, levels).Select(level => (JsonNode)(level == 0 ? 32 : 64))]);
        unet["cross_attention_dim"] = two ? 2 * text : text;
        // Heads of 64 channels, where a linear projection fixes their width.
        if (unet["attention_head_dim"] is JsonArray) unet["attention_head_dim"] = new JsonArray([.. Enumerable.Range(0, levels).Select(_ => (JsonNode)1)]);
        if (two)
        {
            (unet["addition_time_embed_dim"], unet["projection_class_embeddings_input_dim"]) = (timeFeatures, text + sizes * timeFeatures);
            unet["transformer_layers_per_block"] = new JsonArray(1, 2, 3);
        }

        model["vae"]!["block_out_channels"] = new JsonArray(32, 32, 64, 64);
        foreach (string encoder in new[] { "text_encoder", "text_encoder_2" }.Where(model.ContainsKey))
        {
            JsonObject config = model[encoder]!.AsObject();
            (config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"], config["num_attention_heads"], config["projection_dim"]) = (text, 2 * text, 2, 1, text);
        }

        return model;
    }
}

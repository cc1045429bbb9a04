using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Formats.Checkpoints;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Shared;
using NUnit.Framework.Constraints;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>A checkpoint in one file reads like the folder that it would be in diffusers' layout.</summary>
[TestFixture]
public sealed class SingleFileCheckpointTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void Networks_have_the_weights_that_were_stored(
        [Values("sd15", "sd21", "sdxl")] string family, [Values("model.safetensors", "model.ckpt")] string file, [Values(DType.F32, DType.F16, DType.BF16)] DType type)
    {
        OriginalCheckpoint original = TinyCheckpoint.Create(family);
        ModelFolder model = Open(original, file, type);
        foreach ((string component, ITensorSource expected) in original.Networks)
        {
            using ComponentFolder found = model.OpenComponent(component);
            Dictionary<string, string> names = found.Weights.Tensors.Keys.ToDictionary(Bare);
            Assert.That(names.Keys.Order(), Is.EqualTo(expected.Tensors.Keys.Select(Bare).Order()), component);
            foreach (string name in expected.Tensors.Keys)
            {
                string stored = names[Bare(name)];
                Assert.That(found.Weights.Tensors[stored].DType, Is.EqualTo(type), name);
                Assert.That(found.Weights.Tensors[stored].Shape, Is.EqualTo(expected.Tensors[name].Shape), name);
                Assert.That(found.Weights.ReadSingles(stored), Is.EqualTo(Rounded(expected.ReadSingles(name), type)), $"{component}: {name}");
                Assert.That(found.Weights.ReadBytes(stored), Is.EqualTo(TensorConversion.FromSingles(type, expected.ReadSingles(name))), $"{component}: bytes of {name}");
            }
        }
    }

    [TestCase("sd15", "StableDiffusionPipeline", "unet vae text_encoder tokenizer scheduler")]
    [TestCase("sd21", "StableDiffusionPipeline", "unet vae text_encoder tokenizer scheduler")]
    [TestCase("sdxl", "StableDiffusionXLPipeline", "unet vae text_encoder tokenizer text_encoder_2 tokenizer_2 scheduler")]
    public void Networks_load(string family, string pipeline, string components)
    {
        OriginalCheckpoint original = TinyCheckpoint.Create(family);
        ModelFolder model = Open(original, "model.safetensors", DType.F32);
        Assert.That(model.ClassName, Is.EqualTo(pipeline));
        Assert.That(model.Components.Keys, Is.EquivalentTo(components.Split(' ')));
        foreach (string name in original.Networks.Keys)
        {
            using ComponentFolder component = model.OpenComponent(name);
            INetwork network = NetworkRegistry.Create(component.Config);
            Assert.That(() => ModelLoader.Open(component, network, network.NativeInputs(1)), Throws.Nothing, name);
        }
    }

    [Test]
    public void Projections_are_divided_and_turned()
    {
        ModelFolder model = Open(TinyCheckpoint.Create("sdxl"), "model.safetensors", DType.F32);
        using ComponentFolder text = model.OpenComponent("text_encoder_2");
        const string projection = "text_projection.weight", keys = "text_model.encoder.layers.1.self_attn.k_proj.weight";
        using SafeTensorsFile file = SafeTensorsFile.Open(_folder["model.safetensors"]);
        float[] fused = file.ReadSingles("conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight"), turned = file.ReadSingles("conditioner.embedders.1.model.text_projection");
        float[] found = text.Weights.ReadSingles(projection);
        Assert.That(text.Weights.ReadSingles(keys), Is.EqualTo(fused[(32 * 32)..(2 * 32 * 32)]), "rows 32 to 63 are the keys");
        Assert.That(text.Weights.Tensors[projection].Shape, Is.EqualTo(new long[] { 20, 32 }));
        Assert.That(found[3 * 32 + 7], Is.EqualTo(turned[7 * 20 + 3]), "row 3, column 7");
        byte[] range = new byte[8];
        text.Weights.ReadRange(keys, 16, range);
        Assert.That(range, Is.EqualTo(text.Weights.ReadBytes(keys)[16..24]));
        text.Weights.ReadRange(projection, 16, range);
        Assert.That(range, Is.EqualTo(text.Weights.ReadBytes(projection)[16..24]));
        Assert.That(() => text.Weights.ReadRange(keys, 32 * 32 * 4 - 4, new byte[8]), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Averaged_weights_are_left_out_or_taken([Values] bool ema)
    {
        OriginalCheckpoint original = TinyCheckpoint.Create("sd15").AddAverage(2);
        ModelFolder model = Open(original, "model.safetensors", DType.F32, new() { Ema = ema });
        using ComponentFolder unet = model.OpenComponent("unet");
        using ComponentFolder vae = model.OpenComponent("vae");
        const string name = "up_blocks.1.resnets.0.conv1.weight";
        Assert.That(unet.Weights.ReadSingles(name), Is.EqualTo(Array.ConvertAll(original.Networks["unet"].ReadSingles(name), value => ema ? 2 * value : value)));
        Assert.That(unet.Weights.Tensors, Has.Count.EqualTo(original.Networks["unet"].Tensors.Count));
        Assert.That(vae.Weights.ReadSingles("encoder.conv_in.bias"), Is.EqualTo(original.Networks["vae"].ReadSingles("encoder.conv_in.bias")), "only the UNet is averaged");
    }

    [Test]
    public void Averaged_weights_that_are_not_there()
        => Assert.That(() => Open(TinyCheckpoint.Create("sd15"), "model.safetensors", DType.F32, new() { Ema = true }), Refused("model_ema.*"));

    [Test]
    public void A_text_encoder_may_lack_its_prefix()
    {
        OriginalCheckpoint original = TinyCheckpoint.Create("sd15");
        SafeTensorsWriter.Write(_folder["model.safetensors"], original.Stored(DType.F32).Select(tensor => (tensor.Info with { Name = tensor.Info.Name.Replace("transformer.text_model.", "transformer.", StringComparison.Ordinal) }, tensor.Bytes)));
        using ComponentFolder text = ModelFolder.Open(_folder["model.safetensors"]).OpenComponent("text_encoder");
        Assert.That(text.Weights.Tensors.Keys, Is.EquivalentTo(original.Networks["text_encoder"].Tensors.Keys.Select(name => $"text_model.{name}")));
        Assert.That(text.Config.GetInt("num_hidden_layers"), Is.EqualTo(3));
    }

    [Test]
    public void Shapes_set_the_sizes_of_the_configuration()
    {
        SingleFileCheckpoint checkpoint = new("sdxl", new InMemoryShapes(TinyCheckpoint.Create("sdxl")), new());
        JsonConfig unet = checkpoint.Config("unet", "config.json"), text = checkpoint.Config("text_encoder_2", "config.json"), vae = checkpoint.Config("vae", "config.json");
        Assert.That(unet.GetIntArray("block_out_channels"), Is.EqualTo(new[] { 16, 32, 32 }));
        Assert.That(unet.GetInt("layers_per_block"), Is.EqualTo(1));
        Assert.That(unet.GetIntArray("transformer_layers_per_block"), Is.EqualTo(new[] { 1, 2, 2 }));
        Assert.That(unet.GetInt("addition_time_embed_dim"), Is.EqualTo(8));
        Assert.That((text.GetInt("hidden_size"), text.GetInt("projection_dim"), text.GetInt("vocab_size")), Is.EqualTo((32, 20, 500)));
        Assert.That(vae.GetIntArray("block_out_channels"), Is.EqualTo(new[] { 16, 32, 32 }));
        Assert.That((vae.GetFloat("scaling_factor"), vae.GetInt("layers_per_block")), Is.EqualTo((0.13025f, 2)), "what shapes do not say is the published model's");
    }

    [TestCase("sd15", null, 0, "epsilon")]
    [TestCase("sd15", "v_prediction", 0, "v_prediction")]
    [TestCase("sd15", null, 1, "v_prediction")]
    [TestCase("sd21", null, 0, "v_prediction")]
    [TestCase("sd21", "epsilon", 0, "epsilon")]
    public void The_prediction_follows_a_rule_or_the_option(string family, string? option, int marks, string expected)
    {
        OriginalCheckpoint original = TinyCheckpoint.Create(family);
        if (marks > 0) original.AddExtra("v_pred", []).AddExtra("ztsnr", []);
        SingleFileCheckpoint checkpoint = new(family, new InMemoryShapes(original), new() { PredictionType = option });
        JsonConfig scheduler = checkpoint.Config("scheduler", "scheduler_config.json");
        Assert.That(scheduler.GetString("prediction_type"), Is.EqualTo(expected));
        Assert.That(scheduler.GetBool("rescale_betas_zero_snr", false), Is.EqualTo(marks > 0));
        if (family == "sd21") Assert.That(checkpoint.Config("unet", "config.json").GetInt("sample_size"), Is.EqualTo(expected == "epsilon" ? 64 : 96));
    }

    [TestCase(875000, "epsilon")]
    [TestCase(220000, "epsilon")]
    [TestCase(110000, "v_prediction")]
    public void The_training_step_tells_the_base_models_of_Stable_Diffusion_2(long step, string expected)
        => Assert.That(ModelFolder.Open(TinyCheckpoint.Create("sd21").WriteTo(_folder["model.ckpt"], trainingStep: step)).OpenConfig("scheduler").GetString("prediction_type"), Is.EqualTo(expected));

    [Test]
    public void A_prediction_that_no_scheduler_knows()
        => Assert.That(() => new SingleFileCheckpoint("x", new InMemoryShapes(TinyCheckpoint.Create("sd15")), new() { PredictionType = "noise" }), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("v_prediction"));

    [Test]
    public void Tensors_that_no_part_has_are_an_error()
    {
        OriginalCheckpoint original = TinyCheckpoint.Create("sd15");
        foreach (int i in Enumerable.Range(0, 7)) original.AddExtra($"control_model.{i}.weight", [1]);
        Assert.That(() => Open(original, "model.safetensors", DType.F32), Refused("found 7 others: control_model.0.weight, control_model.1.weight, control_model.2.weight, control_model.3.weight, control_model.4.weight, …"));
        OriginalCheckpoint inside = TinyCheckpoint.Create("sd15").AddExtra("model.diffusion_model.input_blocks.1.0.extra.weight", [1]);
        Assert.That(() => Open(inside, "other.safetensors", DType.F32), Refused("input_blocks.1.0.extra.weight"));
    }

    [TestCase("first_stage_model.", "text_encoder,tokenizer,scheduler,unet")]
    [TestCase("cond_stage_model.", "vae,scheduler,unet")]
    public void Parts_may_be_missing(string prefix, string left)
    {
        OriginalCheckpoint original = TinyCheckpoint.Create("sd15").Remove(name => name.StartsWith(prefix, StringComparison.Ordinal));
        Assert.That(Open(original, "model.safetensors", DType.F32).Components.Keys, Is.EquivalentTo(left.Split(',')));
    }

    [Test]
    public void Text_encoders_and_UNet_must_fit()
    {
        OriginalCheckpoint original = TinyCheckpoint.Create("sdxl").Remove(name => name.EndsWith("attn2.to_k.weight", StringComparison.Ordinal));
        foreach (string block in (string[])["input_blocks.3.1", "input_blocks.5.1", "middle_block.1"]) original.AddExtra($"model.diffusion_model.{block}.transformer_blocks.0.attn2.to_k.weight", [32, 48]);
        Assert.That(() => Open(original, "model.safetensors", DType.F32), Refused("expected text encoders of 48 channels, which the UNet reads, found 64"));
    }

    [TestCase("model.diffusion_model.double_blocks.0.img_attn.qkv.weight")]
    [TestCase("unet.conv_in.weight")]
    public void Other_models_are_refused(string tensor)
    {
        SafeTensorsWriter.Write(_folder["model.safetensors"], [(new TensorInfo(tensor, DType.F32, [1]), new byte[4])]);
        Assert.That(() => ModelFolder.Open(_folder["model.safetensors"]), Refused("expected the UNet of latent diffusion"));
    }

    [Test]
    public void The_refiner_is_refused()
    {
        OriginalCheckpoint original = TinyCheckpoint.Create("sdxl").Remove(name => name.StartsWith("conditioner.", StringComparison.Ordinal)).AddExtra("conditioner.embedders.0.model.ln_final.weight", [4]);
        Assert.That(() => Open(original, "model.safetensors", DType.F32), Refused("refiner, which is not supported"));
    }

    [TestCase(9, "StableDiffusionInpaintPipeline")]
    [TestCase(8, "StableDiffusionInstructPix2PixPipeline")]
    public void The_image_that_is_read_tells_the_pipeline(int channels, string pipeline)
    {
        const string name = "model.diffusion_model.input_blocks.0.0.weight";
        OriginalCheckpoint original = TinyCheckpoint.Create("sd15").Remove(tensor => tensor == name).AddExtra(name, [16, channels, 3, 3]);
        Assert.That(new SingleFileCheckpoint("x", new InMemoryShapes(original), new()).Config("", "model_index.json").GetString("_class_name"), Is.EqualTo(pipeline));
    }

    [Test]
    public void The_tokenizer_is_the_published_one()
    {
        ModelFolder model = Open(TinyCheckpoint.Create("sd21"), "model.safetensors", DType.F32);
        string golden = Repository.Golden("clip_tokenizer");
        Assert.That(model.FilesOf("tokenizer"), Is.EquivalentTo(new[] { "vocab.json", "merges.txt", "tokenizer_config.json" }));
        Assert.That(model.ReadFile("tokenizer", "merges.txt"), Is.EqualTo(File.ReadAllBytes(Path.Combine(golden, "merges.txt"))));
        Assert.That(JsonNode.DeepEquals(JsonNode.Parse(model.ReadFile("tokenizer", "vocab.json")), JsonNode.Parse(File.ReadAllText(Path.Combine(golden, "vocab.json")))), Is.True, "vocabulary");
        Assert.That(model.OpenConfig("tokenizer").GetString("pad_token"), Is.EqualTo("!"), "Stable Diffusion 2 pads with this");
    }

    [Test]
    public void A_folder_is_asked_for_where_there_is_none()
        => Assert.That(() => Open(TinyCheckpoint.Create("sd15"), "model.safetensors", DType.F32).ComponentPath("unet"), Refused("convert the file first"));

    private ModelFolder Open(OriginalCheckpoint original, string file, DType type, CheckpointOptions? options = null)
        => ModelFolder.Open(original.WriteTo(_folder[file], type), (options ?? new()) with { ConfigFolder = original.WriteConfigs(_folder) });

    private static Constraint Refused(string says) => Throws.TypeOf<ModelFormatException>().With.Message.Contains(says);

    private static float[] Rounded(float[] values, DType type)
    {
        float[] rounded = new float[values.Length];
        TensorConversion.ToSingles(type, TensorConversion.FromSingles(type, values), rounded);
        return rounded;
    }

    private static string Bare(string name) => name.StartsWith("text_model.", StringComparison.Ordinal) ? name["text_model.".Length..] : name;
}

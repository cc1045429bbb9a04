using System.Text.Json;
using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.RandomWeights;

namespace LowBitDiffusion.Tests.Shared;

/// <summary>Whole model folders of every pipeline: golden networks where they fit each other, text encoders with seeded random weights for a small vocabulary.</summary>
internal static class TinyFolder
{
    /// <summary>Stable Diffusion's noise schedule with DDIM.</summary>
    public const string Scheduler = """
        { "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": false,
          "set_alpha_to_one": false, "steps_offset": 1, "prediction_type": "epsilon" }
        """;

    /// <summary>Stable Diffusion 1.x.</summary>
    public static string StableDiffusion(string folder)
    {
        Index(folder, "StableDiffusionPipeline", ("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL"), ("text_encoder", "CLIPTextModel"), ("tokenizer", "CLIPTokenizer"));
        Golden(folder, "unet", "unet2dcond_sd15");
        Golden(folder, "vae", "vae_kl");
        Text(folder, "", "CLIPTextModel", width: 32, seed: 1);
        return folder;
    }

    /// <summary>Stable Diffusion 2.x, which predicts v.</summary>
    public static string StableDiffusion2(string folder)
    {
        Index(folder, "StableDiffusionPipeline", ("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL"), ("text_encoder", "CLIPTextModel"), ("tokenizer", "CLIPTokenizer"));
        Write(folder, "scheduler/scheduler_config.json", Scheduler.Replace("epsilon", "v_prediction", StringComparison.Ordinal));
        Golden(folder, "unet", "unet2dcond_sd2");
        Golden(folder, "vae", "vae_kl");
        Text(folder, "", "CLIPTextModel", width: 24, seed: 1);
        return folder;
    }

    /// <summary>Stable Diffusion XL.</summary>
    public static string StableDiffusionXL(string folder)
    {
        Index(
            folder, "StableDiffusionXLPipeline", ("unet", "UNet2DConditionModel"), ("vae", "AutoencoderKL"), ("text_encoder", "CLIPTextModel"), ("tokenizer", "CLIPTokenizer"),
            ("text_encoder_2", "CLIPTextModelWithProjection"), ("tokenizer_2", "CLIPTokenizer"));
        Golden(folder, "unet", "unet2dcond_sdxl");
        Golden(folder, "vae", "vae_kl");
        Text(folder, "", "CLIPTextModel", width: 16, seed: 1);
        Text(folder, "_2", "CLIPTextModelWithProjection", width: 20, seed: 2);
        return folder;
    }

    /// <summary>PixArt without its text encoder.</summary>
    public static string PixArt(string folder)
    {
        Index(folder, "PixArtAlphaPipeline", ("transformer", "PixArtTransformer2DModel"), ("vae", "AutoencoderKL"), ("text_encoder", "T5EncoderModel"), ("tokenizer", "T5Tokenizer"));
        Golden(folder, "transformer", "pixart");
        Golden(folder, "vae", "vae_kl");
        return folder;
    }

    /// <summary>DiT in a latent space, ten labels.</summary>
    public static string DiT(string folder)
    {
        Index(folder, "DiTPipeline", ("transformer", "DiTTransformer2DModel"), ("vae", "AutoencoderKL"));
        Golden(folder, "transformer", "dit_adaln_zero");
        Golden(folder, "vae", "vae_kl");
        return folder;
    }

    /// <summary>A UNet in pixels, ten labels and a null label.</summary>
    public static string ClassUNet(string folder)
    {
        Index(folder, "ClassConditionalDiffusionPipeline", ("unet", "UNet2DModel"));
        JsonObject index = JsonNode.Parse(File.ReadAllBytes(Path.Combine(folder, "model_index.json")))!.AsObject();
        index["null_label"] = 10;
        Write(folder, "model_index.json", index.ToJsonString());
        Golden(folder, "unet", "unet2d_class");
        return folder;
    }

    /// <summary>Unconditional latent diffusion.</summary>
    public static string LatentDiffusion(string folder)
    {
        Index(folder, "LDMPipeline", ("unet", "UNet2DModel"), ("vqvae", "VQModel"));
        Golden(folder, "unet", "unet2d_ddpm_cifar");
        Golden(folder, "vqvae", "vq");
        return folder;
    }

    /// <summary>The same in the latents of an autoencoder with a normal distribution, which has random weights.</summary>
    public static string LatentDiffusionKL(string folder)
    {
        Index(folder, "LDMPipeline", ("unet", "UNet2DModel"), ("vae", "AutoencoderKL"));
        Golden(folder, "unet", "unet2d_ddpm_cifar");
        JsonObject config = JsonNode.Parse(File.ReadAllBytes(Repository.Golden("vae_kl", "config.json")))!.AsObject();
        config["latent_channels"] = 3;
        RandomWeights(folder, "vae", Write(folder, "vae/config.json", config.ToJsonString()), ComponentFolder.WeightFile, seed: 3);
        return folder;
    }

    /// <summary>Unconditional diffusion in pixels.</summary>
    public static string Unconditional(string folder)
    {
        Index(folder, "DDPMPipeline", ("unet", "UNet2DModel"));
        Golden(folder, "unet", "unet2d_ddpm_cifar");
        return folder;
    }

    /// <summary>A vocabulary of bytes, a few merges, and the special tokens.</summary>
    private static void Tokenizer(string folder, string name)
    {
        string[] merges = ["c a", "ca t</w>", "d o", "do g</w>"];
        string[] bytes = [.. JsonDocument.Parse(File.ReadAllText(Repository.Golden("clip_tokenizer", "vocab.json"))).RootElement.EnumerateObject().Select(token => token.Name).Take(512)];
        string[] tokens = [.. bytes, .. merges.Select(merge => merge.Replace(" ", "")), "<|startoftext|>", "<|endoftext|>"];
        Write(folder, $"{name}/vocab.json", JsonSerializer.Serialize(tokens.Select((token, id) => (token, id)).ToDictionary(pair => pair.token, pair => pair.id)));
        Write(folder, $"{name}/merges.txt", "#version: 0.2\n" + string.Join('\n', merges) + "\n");
        Write(folder, $"{name}/tokenizer_config.json", """{ "model_max_length": 16 }""");
    }

    private static void Index(string folder, string className, params (string Name, string Class)[] components)
    {
        Dictionary<string, object> index = new() { ["_class_name"] = className, ["scheduler"] = (string[])["diffusers", "DDIMScheduler"] };
        foreach ((string name, string type) in components) index[name] = (string[])["diffusers", type];
        Write(folder, "model_index.json", JsonSerializer.Serialize(index));
        Write(folder, "scheduler/scheduler_config.json", Scheduler);
    }

    private static void Golden(string folder, string name, string golden)
    {
        foreach (string file in (string[])["config.json", ComponentFolder.WeightFile]) Write(folder, $"{name}/{file}", File.ReadAllBytes(Repository.Golden(golden, file)));
    }

    private static void Text(string folder, string suffix, string className, int width, int seed)
    {
        Tokenizer(folder, $"tokenizer{suffix}");
        string config = Write(folder, $"text_encoder{suffix}/config.json", $$"""
            { "architectures": ["{{className}}"], "model_type": "clip_text_model", "vocab_size": 518, "hidden_size": {{width}}, "intermediate_size": {{2 * width}}, "num_hidden_layers": 3,
              "num_attention_heads": 4, "max_position_embeddings": 16, "projection_dim": 20, "eos_token_id": 2, "hidden_act": "quick_gelu" }
            """);
        RandomWeights(folder, $"text_encoder{suffix}", config, ComponentFolder.TextEncoderWeightFile, seed);
    }

    private static void RandomWeights(string folder, string component, string config, string file, int seed)
    {
        INetwork network = NetworkRegistry.Create(JsonConfig.Open(config));
        using RandomTensors tensors = new(network.Build(network.WholeInputs(1)), seed);
        SafeTensorsWriter.Write(Path.Combine(folder, component, file), [.. tensors.Tensors.Values.Select(info => (info, tensors.ReadBytes(info.Name)))]);
    }

    private static string Write(string folder, string name, string text) => Write(folder, name, System.Text.Encoding.UTF8.GetBytes(text));

    private static string Write(string folder, string name, byte[] bytes)
    {
        string path = Path.Combine(folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        return path;
    }
}

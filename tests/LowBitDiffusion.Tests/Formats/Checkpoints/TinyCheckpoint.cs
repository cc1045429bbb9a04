using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>Stable Diffusion of a few thousand parameters: golden networks, put together as the published models are.</summary>
internal static class TinyCheckpoint
{
    public static OriginalCheckpoint Create(string family)
    {
        Dictionary<string, JsonObject> configs = new() { ["unet"] = Config($"unet2dcond_{(family == "sd21" ? "sd2" : family)}"), ["vae"] = Config("vae_kl"), ["text_encoder"] = Config("clip_text") };
        switch (family)
        {
            case "sd15":
                return OriginalCheckpoint.Create(configs, openClip: false, component => Golden(component switch { "unet" => "unet2dcond_sd15", "vae" => "vae_kl", _ => "clip_text" }));
            case "sd21":
                configs["unet"]["cross_attention_dim"] = 32;
                return OriginalCheckpoint.Create(configs, openClip: true);
            default:
                configs["unet"]["cross_attention_dim"] = 64;
                configs.Add("text_encoder_2", Config("clip_text_proj"));
                return OriginalCheckpoint.Create(configs, openClip: false);
        }
    }

    /// <summary>Writes the configurations into a folder: numbers of heads and groups do not show in shapes.</summary>
    public static string WriteConfigs(this OriginalCheckpoint checkpoint, TemporaryFolder folder)
    {
        foreach ((string component, JsonObject config) in checkpoint.Configs) folder.Write($"configs/{component}/config.json", config.ToJsonString());
        return folder["configs"];
    }

    /// <summary>Writes the checkpoint as a file, by the extension of its name.</summary>
    public static string WriteTo(this OriginalCheckpoint checkpoint, string path, DType type = DType.F32, long trainingStep = 470000)
    {
        if (path.EndsWith(".safetensors", StringComparison.Ordinal)) checkpoint.WriteSafeTensors(path, type);
        else checkpoint.WriteArchive(path, type, trainingStep);
        return path;
    }

    private static JsonObject Config(string name) => JsonNode.Parse(File.ReadAllText(Repository.Golden(name, "config.json")))!.AsObject();

    private static ITensorSource Golden(string name) => ComponentFolder.Open(Repository.Golden(name)).Weights;
}

using System.Text.Json.Nodes;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Support;

/// <summary>A folder for one test, removed with it.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("lowbit-quantizer").FullName;

    public string this[string name] => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>Writes model folders around the network of a golden case: random weights, ten labels, attention, skips; at 8x8 pixels small enough to run in a test.</summary>
internal static class TinyModel
{
    public static string Write(string folder, int size = 8, int steps = 3)
    {
        string source = Repository.Golden("unet2d_class");
        JsonObject config = JsonNode.Parse(File.ReadAllText(Path.Combine(source, "config.json")))!.AsObject();
        config["sample_size"] = size;
        Save("unet/config.json", config);
        File.Copy(Path.Combine(source, "diffusion_pytorch_model.safetensors"), Path.Combine(folder, "unet", "diffusion_pytorch_model.safetensors"));
        Save("scheduler/scheduler_config.json", new JsonObject { ["_class_name"] = "DDIMScheduler", ["num_train_timesteps"] = 1000, ["beta_schedule"] = "linear", ["beta_start"] = 0.0001, ["beta_end"] = 0.02 });
        Save("model_index.json", new JsonObject
        {
            ["_class_name"] = "ClassConditionalDiffusionPipeline",
            ["unet"] = new JsonArray("diffusers", "UNet2DModel"),
            ["scheduler"] = new JsonArray("diffusers", "DDIMScheduler"),
            ["id2label"] = new JsonObject(Enumerable.Range(0, 10).Select(i => KeyValuePair.Create(i.ToString(System.Globalization.CultureInfo.InvariantCulture), (JsonNode?)$"label {i}"))),
            ["null_label"] = 10,
            ["default_guidance_scale"] = 1.5,
            ["default_num_inference_steps"] = steps,
        });
        return folder;

        void Save(string name, JsonObject json)
        {
            string path = Path.Combine(folder, name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, json.ToJsonString());
        }
    }
}

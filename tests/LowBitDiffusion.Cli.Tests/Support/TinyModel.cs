using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Cli.Tests.Support;

/// <summary>
/// Whole model folders made of the golden cases' small networks, and ways to damage them. The class-conditional one draws grey 16x16 images of ten labels, label 3 being "dress"; its
/// weights are random, so its images are noise.
/// </summary>
internal static class TinyModel
{
    private const string Scheduler =
        """{"_class_name": "DDIMScheduler", "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000, "clip_sample": true}""";

    /// <summary>Ten labels and a null label.</summary>
    public static string CreateConditional(string folder) => Create(
        folder,
        "unet2d_class",
        """
        , "id2label": {"0": "t-shirt", "1": "trouser", "2": "pullover", "3": "dress", "4": "coat", "5": "sandal", "6": "shirt", "7": "sneaker", "8": "bag", "9": "ankle boot"},
        "null_label": 10, "default_guidance_scale": 1.25, "default_num_inference_steps": 3
        """);

    /// <summary>Colour images without labels.</summary>
    public static string CreateUnconditional(string folder) => Create(folder, "unet2d_ddpm_cifar", "");

    public static string Copy(string source, string target)
    {
        foreach (string file in Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories))
        {
            string copy = Path.Combine(target, Path.GetRelativePath(source, file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }

        return target;
    }

    public static string Weights(string model) => Path.Combine(model, "unet", "diffusion_pytorch_model.safetensors");

    /// <summary>Changes one tensor, or removes it.</summary>
    public static void EditTensor(string model, string name, Func<TensorInfo, float[], (TensorInfo Info, byte[] Bytes)?> edit)
    {
        List<(TensorInfo Info, byte[] Bytes)> tensors = [];
        using (SafeTensorsFile file = SafeTensorsFile.Open(Weights(model)))
        {
            Assert.That(file.Tensors.Keys, Has.Member(name), "the tensor to edit");
            foreach (TensorInfo info in file.Tensors.Values)
            {
                if (info.Name != name) tensors.Add((info, file.ReadBytes(info.Name)));
                else if (edit(info, file.ReadSingles(name)) is { } edited) tensors.Add(edited);
            }
        }

        SafeTensorsWriter.Write(Weights(model), tensors);
    }

    /// <summary>Changes the values of an F32 tensor.</summary>
    public static void EditValues(string model, string name, Action<float[]> edit) => EditTensor(model, name, (info, values) =>
    {
        edit(values);
        return (info, TensorConversion.FromSingles(DType.F32, values));
    });

    /// <summary>Changes a JSON file of the model.</summary>
    public static void EditJson(string model, string name, Action<JsonObject> edit)
    {
        string path = Path.Combine(model, name);
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        edit(json);
        File.WriteAllText(path, json.ToJsonString());
    }

    private static string Create(string folder, string golden, string settings)
    {
        Directory.CreateDirectory(Path.Combine(folder, "unet"));
        Directory.CreateDirectory(Path.Combine(folder, "scheduler"));
        foreach (string file in new[] { "config.json", "diffusion_pytorch_model.safetensors" })
            File.Copy(Repository.Golden(golden, file), Path.Combine(folder, "unet", file));
        File.WriteAllText(Path.Combine(folder, "scheduler", "scheduler_config.json"), Scheduler);
        File.WriteAllText(
            Path.Combine(folder, "model_index.json"),
            $$"""{"_class_name": "DDIMPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDIMScheduler"]{{settings}}}""");
        return folder;
    }
}

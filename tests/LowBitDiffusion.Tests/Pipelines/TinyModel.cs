using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Pipelines;

/// <summary>A whole model folder around a golden network: ten labels, a null label, DDIM. Small enough to draw hundreds of pictures in a test.</summary>
internal static class TinyModel
{
    /// <summary>Writes the folder into a temporary one and returns its path.</summary>
    public static string Write(TemporaryFolder folder, Action<string>? change = null)
    {
        string golden = Repository.Golden("unet2d_class");
        folder.Write("model_index.json", """
            { "_class_name": "ClassConditionalDiffusionPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDIMScheduler"],
              "id2label": { "0": "t-shirt", "1": "trouser" }, "null_label": 10, "default_guidance_scale": 1.25, "default_num_inference_steps": 4 }
            """);
        folder.Write("scheduler/scheduler_config.json", """{ "_class_name": "DDIMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear", "clip_sample": true }""");
        folder.Write("unet/config.json", File.ReadAllText(Path.Combine(golden, "config.json")));
        File.Copy(Path.Combine(golden, "diffusion_pytorch_model.safetensors"), folder[$"unet/{ComponentFolder.WeightFile}"]);
        change?.Invoke(folder.Path);
        return folder.Path;
    }
}

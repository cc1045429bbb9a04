using LowBitDiffusion.Formats.Checkpoints;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Formats;

/// <summary>One network of a model: a folder with its configuration and weights, as diffusers' <c>save_pretrained</c> writes it.</summary>
public sealed class ComponentFolder : IDisposable
{
    // In order of preference. The second name of a sharded half-precision model is the one that older diffusers wrote.
    private static readonly string[] s_weightFiles =
    [
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.safetensors.index.fp16.json",
        "diffusion_pytorch_model.fp16.safetensors.index.json",
        "model.fp16.safetensors",
        "model.safetensors.index.fp16.json",
        "model.fp16.safetensors.index.json",
        "diffusion_pytorch_model.bin",
        "pytorch_model.bin",
    ];

    private ComponentFolder(string path, JsonConfig config, QuantizationConfig? quantization, PredictionCorrection? correction, ITensorSource weights)
        => (Path, Config, Quantization, Correction, Weights) = (path, config, quantization, correction, weights);

    /// <summary>Name of the weight file that is written.</summary>
    public static string WeightFile => s_weightFiles[0];

    /// <summary>Name of the weight file of networks that are configured by <c>architectures</c>.</summary>
    public static string TextEncoderWeightFile => s_weightFiles[2];

    /// <summary>Name of the weight file that is written for a configuration.</summary>
    internal static string WeightFileOf(JsonConfig config) => !config.HasValue("_class_name") && config.HasValue("architectures") ? TextEncoderWeightFile : WeightFile;

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The network's <c>config.json</c>.</summary>
    public JsonConfig Config { get; }

    /// <summary>The network's class: diffusers' <c>_class_name</c>, or the first of transformers' <c>architectures</c>; null if the configuration names none.</summary>
    public string? ClassName => ClassOf(Config);

    /// <summary>What <c>config.json</c> says of quantized modules; null for a float network.</summary>
    public QuantizationConfig? Quantization { get; }

    /// <summary>Correction of what the network predicts, from <c>prediction_correction.json</c>; null if there is none.</summary>
    public PredictionCorrection? Correction { get; }

    /// <summary>The weights, in one file or several; closed with this.</summary>
    public ITensorSource Weights { get; }

    /// <summary>Opens a network's folder.</summary>
    /// <exception cref="ModelFormatException">The configuration or the weights are missing or damaged, or quantized in a way this library does not know.</exception>
    public static ComponentFolder Open(string path)
    {
        if (!Directory.Exists(path)) throw new ModelFormatException(path, null, "no such folder");
        JsonConfig config = JsonConfig.Open(System.IO.Path.Combine(path, "config.json"));
        QuantizationConfig? quantization = config.GetObject("quantization_config") is { } quantized ? QuantizationConfig.Read(quantized) : null;
        return new ComponentFolder(path, config, quantization, PredictionCorrectionFile.Read(path), OpenWeights(path));
    }

    /// <summary>A network that is not a folder.</summary>
    /// <param name="path">Where it is, for messages.</param>
    /// <param name="config">Its configuration.</param>
    /// <param name="weights">Its weights; closed with the result.</param>
    internal static ComponentFolder Of(string path, JsonConfig config, ITensorSource weights) => new(path, config, null, null, weights);

    /// <summary>Whether a folder holds weights in a form that can be read.</summary>
    internal static bool HasWeights(string path) => s_weightFiles.Any(name => File.Exists(System.IO.Path.Combine(path, name)));

    /// <inheritdoc/>
    public void Dispose() => Weights.Dispose();

    internal static string? ClassOf(JsonConfig config)
        => config.GetNullableString("_class_name") ?? (config.HasValue("architectures") ? config.GetStringArray("architectures").FirstOrDefault() : null);

    private static ITensorSource OpenWeights(string path)
    {
        string? name = s_weightFiles.FirstOrDefault(name => File.Exists(System.IO.Path.Combine(path, name)));
        if (name is null)
            throw new ModelFormatException(path, null, $"no weights: expected {s_weightFiles[0]}, {s_weightFiles[2]}, their .fp16 variant or a sharded .index.json");
        string file = System.IO.Path.Combine(path, name);
        return name.EndsWith(".json", StringComparison.Ordinal) ? ShardedTensors.Open(file) : SingleFileCheckpoint.OpenSource(file);
    }
}

using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Formats.Checkpoints;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A whole model in diffusers' layout: <c>model_index.json</c> and a folder for each component; or a single file that is read as such a folder.
/// <code>
/// model/ ├ model_index.json                      {"_class_name", "unet": ["diffusers", "UNet2DModel"], "scheduler": […], "id2label", …}
///        ├ unet/ ├ config.json
///        │       └ diffusion_pytorch_model.safetensors
///        └ scheduler/ └ scheduler_config.json
/// </code>
/// </summary>
public sealed class ModelFolder
{
    private readonly IModelFiles _files;

    private ModelFolder(IModelFiles files, JsonConfig index)
    {
        (_files, Index) = (files, index);
        ClassName = index.GetString("_class_name");
        Dictionary<string, string> components = [];
        foreach (string key in index.Keys.Where(key => !key.StartsWith('_')))
        {
            // A component is a pair of library and class; the pair of nulls is a component left out, other values are settings.
            if (!index.TryGet(key, out JsonElement value) || value.ValueKind != JsonValueKind.Array || value.GetArrayLength() != 2) continue;
            if (value[0].ValueKind != JsonValueKind.String || value[1].ValueKind != JsonValueKind.String) continue;
            if (!ShardedTensors.IsPlainName(key)) throw new ModelFormatException(index.File, key, "expected the name of a folder beside model_index.json");
            components.Add(key, index.GetStringArray(key)[1]);
        }

        Components = components;
        Labels = ReadLabels(index);
        NullLabel = index.GetNullableInt("null_label");
        DefaultGuidanceScale = index.GetNullableFloat("default_guidance_scale");
        DefaultSteps = index.GetNullableInt("default_num_inference_steps");
    }

    /// <summary>The folder, or the single file that is read as one.</summary>
    public string Path => _files.Path;

    /// <summary>Where its parts are.</summary>
    internal IModelFiles Parts => _files;

    /// <summary>The whole <c>model_index.json</c>.</summary>
    public JsonConfig Index { get; }

    /// <summary>The pipeline's class.</summary>
    public string ClassName { get; }

    /// <summary>Class of every component by name, e.g. <c>unet</c>: <c>UNet2DModel</c>.</summary>
    public IReadOnlyDictionary<string, string> Components { get; }

    /// <summary>Names of class labels (<c>id2label</c>), ascending; empty if there are none. Where several names are given with commas, all are one text.</summary>
    public IReadOnlyDictionary<int, string> Labels { get; }

    /// <summary>The label that stands for no class (<c>null_label</c>), if the model has one.</summary>
    public int? NullLabel { get; }

    /// <summary>Guidance scale to use unless told otherwise, if the model says.</summary>
    public float? DefaultGuidanceScale { get; }

    /// <summary>Number of steps to use unless told otherwise, if the model says.</summary>
    public int? DefaultSteps { get; }

    /// <summary>Reads <c>model_index.json</c>, or finds out what a single-file checkpoint holds; the components are opened when asked for.</summary>
    /// <param name="path">A folder in diffusers' layout, or a file for <see cref="SingleFileCheckpoint"/>.</param>
    /// <param name="options">What a single file does not say; null for the defaults. Has no effect on a folder.</param>
    /// <exception cref="ModelFormatException">The folder or its index is missing or damaged, or the file is not such a model.</exception>
    public static ModelFolder Open(string path, CheckpointOptions? options = null)
    {
        IModelFiles files = File.Exists(path) ? SingleFileCheckpoint.Open(path, options)
            : Directory.Exists(path) ? new FolderFiles(path)
            : throw new ModelFormatException(path, null, "no such folder");
        return new ModelFolder(files, files.Config("", "model_index.json"));
    }

    /// <summary>Whether a component has weights, so that <see cref="OpenComponent"/> can open it.</summary>
    /// <exception cref="ModelFormatException">The model has no such component.</exception>
    public bool HasWeights(string name) => _files.HasWeights(Known(name));

    /// <summary>Opens a component's configuration and weights.</summary>
    /// <exception cref="ModelFormatException">The model has no such component, or it is missing or damaged.</exception>
    public ComponentFolder OpenComponent(string name) => _files.Open(Known(name));

    /// <summary>Reads the configuration of a component without weights: <c>scheduler_config.json</c>, <c>tokenizer_config.json</c>, else <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">The model has no such component, or it is missing or damaged.</exception>
    public JsonConfig OpenConfig(string name)
    {
        IReadOnlyList<string> files = _files.Files(Known(name));
        string[] candidates = ["scheduler_config.json", "tokenizer_config.json", "config.json"];
        return _files.Config(name, candidates.FirstOrDefault(files.Contains) ?? candidates[^1]);
    }

    /// <summary>Names of a component's files other than its weights: configurations, vocabularies.</summary>
    /// <exception cref="ModelFormatException">The model has no such component.</exception>
    public IReadOnlyList<string> FilesOf(string name) => _files.Files(Known(name));

    /// <summary>Reads one of <see cref="FilesOf"/>.</summary>
    /// <exception cref="ModelFormatException">The model has no such component or file, or it cannot be read.</exception>
    public byte[] ReadFile(string name, string file) => _files.Read(Known(name), file);

    /// <summary>A component's folder.</summary>
    /// <exception cref="ModelFormatException">The model has no such component, or is a single file.</exception>
    public string ComponentPath(string name)
        => _files.FolderOf(Known(name)) ?? throw new ModelFormatException(Path, name, "is in a single file, expected a folder: convert the file first");

    private string Known(string name)
        => Components.ContainsKey(name) ? name : throw new ModelFormatException(Index.File, name, $"no such component; it has {string.Join(", ", Components.Keys)}");

    private static SortedDictionary<int, string> ReadLabels(JsonConfig index)
    {
        SortedDictionary<int, string> labels = [];
        if (index.GetObject("id2label") is not { } map) return labels;
        foreach (string key in map.Keys)
        {
            if (!int.TryParse(key, NumberStyles.None, CultureInfo.InvariantCulture, out int label) || !labels.TryAdd(label, map.GetString(key)))
                throw new ModelFormatException(index.File, "id2label", $"keys must be different numbers of classes, found '{key}'");
        }

        return labels;
    }
}

using System.Globalization;
using System.Text.Json;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A whole model in diffusers' layout: <c>model_index.json</c> and a folder for each component.
/// <code>
/// model/ ├ model_index.json                      {"_class_name", "unet": ["diffusers", "UNet2DModel"], "scheduler": […], "id2label", …}
///        ├ unet/ ├ config.json
///        │       └ diffusion_pytorch_model.safetensors
///        └ scheduler/ └ scheduler_config.json
/// </code>
/// </summary>
public sealed class ModelFolder
{
    private ModelFolder(string path, JsonConfig index)
    {
        (Path, Index) = (path, index);
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

    /// <summary>The folder.</summary>
    public string Path { get; }

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

    /// <summary>Reads <c>model_index.json</c>; the components are opened when asked for.</summary>
    /// <exception cref="ModelFormatException">The folder or its index is missing or damaged.</exception>
    public static ModelFolder Open(string path)
    {
        if (!Directory.Exists(path)) throw new ModelFormatException(path, null, "no such folder");
        return new ModelFolder(path, JsonConfig.Open(System.IO.Path.Combine(path, "model_index.json")));
    }

    /// <summary>Opens a component's configuration and weights.</summary>
    /// <exception cref="ModelFormatException">The model has no such component, or it is missing or damaged.</exception>
    public ComponentFolder OpenComponent(string name) => ComponentFolder.Open(ComponentPath(name));

    /// <summary>Reads the configuration of a component without weights: <c>scheduler_config.json</c>, <c>tokenizer_config.json</c>, else <c>config.json</c>.</summary>
    /// <exception cref="ModelFormatException">The model has no such component, or it is missing or damaged.</exception>
    public JsonConfig OpenConfig(string name)
    {
        string folder = ComponentPath(name);
        string[] candidates = ["scheduler_config.json", "tokenizer_config.json", "config.json"];
        string file = candidates.FirstOrDefault(file => File.Exists(System.IO.Path.Combine(folder, file))) ?? candidates[^1];
        return JsonConfig.Open(System.IO.Path.Combine(folder, file));
    }

    /// <summary>A component's folder.</summary>
    /// <exception cref="ModelFormatException">The model has no such component.</exception>
    public string ComponentPath(string name)
        => Components.ContainsKey(name)
            ? System.IO.Path.Combine(Path, name)
            : throw new ModelFormatException(Index.File, name, $"no such component; it has {string.Join(", ", Components.Keys)}");

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

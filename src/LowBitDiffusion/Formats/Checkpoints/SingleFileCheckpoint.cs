using System.IO.Enumeration;
using System.Text;
using System.Text.Json.Nodes;
using LowBitDiffusion.Formats.Presets;

namespace LowBitDiffusion.Formats.Checkpoints;

/// <summary>
/// Stable Diffusion 1.x, 2.x or XL in one file with the names of its original training code, safetensors or a PyTorch archive, read as if it were a folder in diffusers' layout.
/// Which model it is, and all sizes, follow from the names and shapes of its tensors:
/// <code>
///   model.diffusion_model.*    unet              model_ema.*              the UNet's running average, or left out
///   first_stage_model.*        vae               betas, alphas_cumprod …  left out: the scheduler computes them
///   cond_stage_model.*         text_encoder      1.x: transformers' names; 2.x: open_clip's
///   conditioner.embedders.0/1  text_encoder, text_encoder_2 of XL
/// </code>
/// What is left over is an error. Tensors are renamed, divided and turned one at a time when they are read.
/// </summary>
public sealed class SingleFileCheckpoint : IModelFiles
{
    private const string UNetPrefix = "model.diffusion_model.", AverageName = "model_ema.";

    // Training steps at which the 512-pixel models of Stable Diffusion 2.0 and 2.1 were published.
    private static readonly long[] s_basePredictsNoise = [875000, 220000];

    private static readonly string[] s_ignored =
    [
        "model_ema.*", "betas", "alphas_cumprod*", "sqrt_*", "log_one_minus_alphas_cumprod", "posterior_*", "lvlb_weights", "logvar", "scale_factor", "denoiser.sigmas",
        "v_pred", "ztsnr", "first_stage_model.loss.*", "first_stage_model.model_ema.*", "*.position_ids", "*.logit_scale", "*.attn_mask",
    ];

    private readonly Dictionary<string, Dictionary<string, (string Source, TensorChange Change)>> _views = [];
    private readonly Dictionary<(string Component, string File), Func<byte[]>> _files = [];
    private readonly CheckpointOptions _options;

    /// <summary>Finds out what a source of tensors holds. The source is not kept.</summary>
    internal SingleFileCheckpoint(string path, ITensorSource source, CheckpointOptions options)
    {
        (Path, _options) = (path, options);
        IReadOnlyDictionary<string, string> names = StateNames(source);
        UNetLayout unet = new(path, Part(source, names, UNetPrefix));
        bool two = names.Keys.Any(name => name.StartsWith("conditioner.", StringComparison.Ordinal)) || unet.AdditionWidth > 0;
        string textPrefix = two ? "conditioner.embedders.0." : "cond_stage_model.";
        IReadOnlyDictionary<string, TensorInfo> text = Part(source, names, textPrefix), text2 = Part(source, names, "conditioner.embedders.1.");
        bool openClip = text.Count > 0 ? TextEncoderLayout.IsOpenClip(text) : unet.ContextWidth == 1024;
        if (two && openClip) throw NotSupported(path, "Stable Diffusion XL's refiner");
        Architecture = two ? ModelPreset.StableDiffusionXL : openClip ? ModelPreset.StableDiffusion21 : ModelPreset.StableDiffusion15;

        JsonObject preset = ModelPreset.Read(Architecture);
        List<string> ignored = [.. s_ignored];
        Add("unet", UNetPrefix, unet.Rules, Averages(names), names);
        unet.Configure(preset["unet"]!.AsObject());
        IReadOnlyDictionary<string, TensorInfo> vae = Part(source, names, "first_stage_model.");
        if (vae.Count > 0)
        {
            AutoencoderLayout layout = new(path, vae);
            Add("vae", "first_stage_model.", layout.Rules, null, names);
            layout.Configure(preset["vae"]!.AsObject());
        }

        int width = AddText("text_encoder", textPrefix, text, projection: false) + AddText("text_encoder_2", "conditioner.embedders.1.", text2, projection: true);
        if (text.Count > 0 && (text2.Count > 0) == two && width != unet.ContextWidth)
            throw new ModelFormatException(path, null, $"expected text encoders of {unet.ContextWidth} channels, which the UNet reads, found {width}");
        Refuse(names, ignored);
        Configure(preset, unet, (source as Torch.TorchArchive)?.Integers.GetValueOrDefault("global_step") ?? 0, names.ContainsKey("v_pred"), names.ContainsKey("ztsnr"));

        int AddText(string component, string prefix, IReadOnlyDictionary<string, TensorInfo> tensors, bool projection)
        {
            if (tensors.Count == 0) return 0;
            TextEncoderLayout layout = new(path, tensors, projection);
            Add(component, prefix, layout.Rules, null, names);
            JsonObject config = preset[component]!.AsObject();
            layout.Configure(config);
            ignored.AddRange(layout.Ignored.Select(name => prefix + name));
            const int sizes = 6;
            if (projection && unet.AdditionWidth > layout.ProjectionWidth) preset["unet"]!["addition_time_embed_dim"] = (unet.AdditionWidth - layout.ProjectionWidth) / sizes;
            return layout.Width;
        }
    }

    /// <inheritdoc/>
    public string Path { get; }

    /// <summary>Which model it is: <c>sd15</c>, <c>sd21</c> or <c>sdxl</c>.</summary>
    public string Architecture { get; }

    /// <summary>Opens a checkpoint and finds out what it holds. No weights are read, and the file does not stay open.</summary>
    /// <param name="path">A safetensors file, or a <c>.ckpt</c> or <c>.pth</c> of PyTorch.</param>
    /// <param name="options">What the file does not say; null for the defaults.</param>
    /// <exception cref="ModelFormatException">The file is damaged, not a Stable Diffusion model, or holds tensors that such a model does not have.</exception>
    public static SingleFileCheckpoint Open(string path, CheckpointOptions? options = null)
    {
        using ITensorSource source = OpenSource(path);
        return new SingleFileCheckpoint(path, source, options ?? new());
    }

    /// <summary>Opens a file of tensors by what it is: safetensors or a PyTorch archive.</summary>
    /// <exception cref="ModelFormatException">It is neither, damaged, or refused.</exception>
    public static ITensorSource OpenSource(string path) => Torch.TorchArchive.IsTorch(path) ? Torch.TorchArchive.Open(path) : SafeTensorsFile.Open(path);

    /// <summary>What each of a network's tensors is in the file, by diffusers' name.</summary>
    internal IReadOnlyDictionary<string, (string Source, TensorChange Change)> ViewsOf(string component) => _views[component];

    /// <inheritdoc/>
    public bool HasWeights(string component) => _views.ContainsKey(component);

    /// <inheritdoc/>
    public IReadOnlyList<string> Files(string component) => [.. _files.Keys.Where(key => key.Component == component).Select(key => key.File)];

    /// <inheritdoc/>
    public byte[] Read(string component, string file)
        => _files.TryGetValue((component, file), out Func<byte[]>? read) ? read() : throw new ModelFormatException(Path, $"{component}/{file}", "a single-file checkpoint has no such file");

    /// <inheritdoc/>
    public JsonConfig Config(string component, string file) => JsonConfig.Parse($"{Path}:{component}/{file}", Encoding.UTF8.GetString(Read(component, file)));

    /// <inheritdoc/>
    string? IModelFiles.FolderOf(string component) => null;

    /// <summary>Opens a network: its configuration and its weights under diffusers' names.</summary>
    /// <param name="component"><c>unet</c>, <c>vae</c>, <c>text_encoder</c> or <c>text_encoder_2</c>.</param>
    /// <exception cref="ModelFormatException">There is no such network in the file, or the file has changed.</exception>
    public ComponentFolder Open(string component)
    {
        if (!_views.TryGetValue(component, out Dictionary<string, (string, TensorChange)>? views))
            throw new ModelFormatException(Path, component, $"no such component with weights; there are {string.Join(", ", _views.Keys)}");
        JsonConfig config = Config(component, "config.json");
        ITensorSource source = OpenSource(Path);
        try
        {
            return ComponentFolder.Of(Path, config, new TensorViews(source, views));
        }
        catch
        {
            source.Dispose();
            throw;
        }
    }

    // Training code saves the network as one entry of several; the others are the optimizer's.
    private static Dictionary<string, string> StateNames(ITensorSource source)
    {
        const string state = "state_dict.";
        string prefix = source.Tensors.Keys.Any(name => name.StartsWith(state, StringComparison.Ordinal)) ? state : "";
        return source.Tensors.Keys.Where(name => name.StartsWith(prefix, StringComparison.Ordinal)).ToDictionary(name => name[prefix.Length..]);
    }

    private static Dictionary<string, TensorInfo> Part(ITensorSource source, IReadOnlyDictionary<string, string> names, string prefix) =>
        names.Where(pair => pair.Key.StartsWith(prefix, StringComparison.Ordinal)).ToDictionary(pair => pair.Key[prefix.Length..], pair => source.Tensors[pair.Value]);

    // The average of a.b.weight is stored under that name without its dots.
    private Func<string, string>? Averages(IReadOnlyDictionary<string, string> names)
    {
        if (!_options.Ema) return null;
        if (!names.Keys.Any(name => name.StartsWith(AverageName, StringComparison.Ordinal))) throw new ModelFormatException(Path, $"{AverageName}*", "expected the averaged weights that were asked for, found none");
        return name => AverageName + name[(UNetPrefix.IndexOf('.', StringComparison.Ordinal) + 1)..].Replace(".", "", StringComparison.Ordinal);
    }

    private void Add(string component, string prefix, IReadOnlyList<NameRule> rules, Func<string, string>? stored, IReadOnlyDictionary<string, string> names)
    {
        Dictionary<string, (string, TensorChange)> views = [];
        foreach (string name in names.Keys.Where(name => name.StartsWith(prefix, StringComparison.Ordinal) && !Matches(s_ignored, name)))
        {
            string[] words = name[prefix.Length..].Split('.');
            string file = stored?.Invoke(name) ?? name;
            foreach (NameRule rule in rules)
            {
                if (rule.Translate(words) is not { } translated) continue;
                if (!names.TryGetValue(file, out string? source)) throw new ModelFormatException(Path, file, "no such tensor");
                if (!views.TryAdd(translated, (source, rule.Change))) throw new ModelFormatException(Path, name, $"is '{translated}' of the {component}, which '{views[translated].Item1}' is too");
            }
        }

        _views.Add(component, views);
    }

    private void Refuse(IReadOnlyDictionary<string, string> names, IReadOnlyList<string> ignored)
    {
        HashSet<string> used = [.. _views.Values.SelectMany(views => views.Values).Select(view => view.Source)];
        string[] unknown = [.. names.Where(pair => !used.Contains(pair.Value) && !Matches(ignored, pair.Key) && !(_options.Ema && pair.Key.StartsWith(UNetPrefix, StringComparison.Ordinal))).Select(pair => pair.Key)];
        if (unknown.Length == 0) return;
        const int shown = 5;
        throw new ModelFormatException(
            Path, unknown[0], $"expected the tensors of Stable Diffusion 1.x, 2.x or XL, found {unknown.Length} others: {string.Join(", ", unknown.Take(shown))}{(unknown.Length > shown ? ", …" : "")}");
    }

    private static bool Matches(IEnumerable<string> globs, string name) => globs.Any(glob => FileSystemName.MatchesSimpleExpression(glob, name, ignoreCase: false));

    private void Configure(JsonObject preset, UNetLayout unet, long trainingStep, bool marksVelocity, bool marksZeroTerminal)
    {
        JsonObject scheduler = preset["scheduler"]!.AsObject(), index = preset["model_index"]!.AsObject();
        bool second = Architecture == ModelPreset.StableDiffusion21;
        string prediction = _options.PredictionType ?? (marksVelocity || (second && !s_basePredictsNoise.Contains(trainingStep)) ? "v_prediction" : "epsilon");
        if (prediction is not ("epsilon" or "v_prediction")) throw new InvalidRequestException(nameof(CheckpointOptions.PredictionType), $"expected epsilon or v_prediction, found {prediction}");
        scheduler["prediction_type"] = prediction;
        if (marksZeroTerminal) (scheduler["rescale_betas_zero_snr"], scheduler["timestep_spacing"]) = (true, "trailing");
        if (second && prediction == "epsilon") (preset["unet"]!["sample_size"], preset["vae"]!["sample_size"]) = (64, 512);
        index["_class_name"] = unet.InChannels switch
        {
            9 => index["_class_name"]!.GetValue<string>().Replace("Pipeline", "InpaintPipeline", StringComparison.Ordinal),
            8 => index["_class_name"]!.GetValue<string>().Replace("Pipeline", "InstructPix2PixPipeline", StringComparison.Ordinal),
            _ => index["_class_name"]!.GetValue<string>(),
        };
        foreach ((string component, string[] parts) in new Dictionary<string, string[]> { ["vae"] = ["vae"], ["text_encoder"] = ["text_encoder", "tokenizer"], ["text_encoder_2"] = ["text_encoder_2", "tokenizer_2"] })
        {
            if (!_views.ContainsKey(component)) Array.ForEach(parts, part => index.Remove(part));
        }

        AddFile("", "model_index.json", index);
        foreach (string component in index.Select(pair => pair.Key).Where(preset.ContainsKey))
        {
            string file = component.StartsWith("scheduler", StringComparison.Ordinal) ? "scheduler_config.json"
                : component.StartsWith("tokenizer", StringComparison.Ordinal) ? "tokenizer_config.json"
                : "config.json";
            AddFile(component, file, preset[component]!.AsObject());
            if (file != "tokenizer_config.json") continue;
            AddFile(component, "vocab.json", ClipVocabulary.Vocabulary);
            AddFile(component, "merges.txt", ClipVocabulary.Merges);
        }
    }

    private void AddFile(string component, string file, JsonObject json) => AddFile(component, file, () => ModelPreset.Text(json));

    private void AddFile(string component, string file, Func<byte[]> read)
    {
        FolderFiles? given = _options.ConfigFolder is { } folder && component.Length > 0 ? new(folder) : null;
        _files.Add((component, file), given?.Files(component).Contains(file) == true ? () => given.Read(component, file) : read);
    }

    private static ModelFormatException NotSupported(string path, string what) => new(path, null, $"expected Stable Diffusion 1.x, 2.x or XL, found {what}, which is not supported");
}

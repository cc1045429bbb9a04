using System.Text.Json;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Formats;

/// <summary>How one module is quantized.</summary>
/// <param name="WeightBits">Bits of a weight code, 2 to 8.</param>
/// <param name="GroupSize">Consecutive elements of a row of the weight that share a scale, a multiple of the kernel's taps; 0 for one scale per output channel.</param>
/// <param name="Symmetric">Whether weight codes are signed around zero; otherwise they have zero points. Always so for 8 bits.</param>
/// <param name="ActivationBits">Bits of an activation code, 2 to 8.</param>
/// <param name="SplitChannel">First input channel of the second half of a concatenated input whose halves have quantizers of their own; 0 for none.</param>
public sealed record ModulePrecision(int WeightBits, int GroupSize, bool Symmetric, int ActivationBits, int SplitChannel = 0);

/// <summary>A rule by which precisions were chosen: module names matching a glob, and what they got.</summary>
/// <param name="Modules">The glob.</param>
/// <param name="Precision">The precision as it was given, e.g. <c>float</c> or <c>w8a8</c>.</param>
public sealed record PrecisionRule(string Modules, string Precision);

/// <summary>The <c>quantization_config</c> of a network in the project's own low-bit layout; docs/format.md describes it key by key.</summary>
public sealed record QuantizationConfig
{
    /// <summary>The layout's name in the files: <c>quant_method</c>.</summary>
    public const string QuantMethod = "lowbit-diffusion";

    private static readonly Dictionary<string, AttentionPrecision> s_attentions = new() { ["float"] = AttentionPrecision.Float, ["int8"] = AttentionPrecision.Int8, ["bf16"] = AttentionPrecision.Bf16 };

    /// <summary>The newest version of the layout that is known, and the one that is written.</summary>
    public const int CurrentVersion = 1;

    /// <summary>The method that chose the numbers, for people.</summary>
    public required string Method { get; init; }

    /// <summary>Precision of modules that <see cref="Modules"/> does not list.</summary>
    public required ModulePrecision Default { get; init; }

    /// <summary>Calibrated timesteps, strictly ascending, shared by the tables of all modules; empty if all activations are static.</summary>
    public IReadOnlyList<float> Timesteps { get; init; } = [];

    /// <summary>Precision of modules that differ from <see cref="Default"/>.</summary>
    public IReadOnlyDictionary<string, ModulePrecision> Modules { get; init; } = new Dictionary<string, ModulePrecision>();

    /// <summary>Convolutions and linear layers that are not quantized.</summary>
    public IReadOnlyList<string> ModulesInFloat { get; init; } = [];

    /// <summary>How attentions are computed.</summary>
    public AttentionPrecision Attention { get; init; }

    /// <summary>The rules that led to <see cref="Modules"/> and <see cref="ModulesInFloat"/>, first match first; for people.</summary>
    public IReadOnlyList<PrecisionRule> Rules { get; init; } = [];

    /// <summary>How it was calibrated (sampler, steps, seed, guidance, images …), any JSON object; for people.</summary>
    public JsonElement? Calibration { get; init; }

    /// <summary>How a quantized module is quantized.</summary>
    public ModulePrecision Precision(string module) => Modules.GetValueOrDefault(module, Default);

    /// <summary>This configuration with the precisions that these modules have.</summary>
    public QuantizationConfig WithModules(IEnumerable<QuantizedModule> modules)
    {
        Dictionary<string, ModulePrecision> precisions = [];
        foreach (QuantizedModule module in modules)
        {
            ModulePrecision precision = new(module.WeightBits, module.GroupSize, module.WeightZeroPoints is null, module.Input.Bits, module.SplitChannel);
            if (precision != Default) precisions.Add(module.Name, precision);
        }

        return this with { Modules = precisions };
    }

    /// <summary>Refuses names that no convolution or linear layer of the network has, and modules that are both quantized and not.</summary>
    /// <param name="file">For messages.</param>
    /// <param name="network">Names of the network's convolutions and linear layers.</param>
    /// <exception cref="ModelFormatException">There is such a name.</exception>
    public void CheckNames(string file, IReadOnlySet<string> network)
    {
        foreach (string module in Modules.Keys.Concat(ModulesInFloat))
        {
            if (!network.Contains(module)) throw new ModelFormatException(file, module, "the quantization_config names a module that the network does not have");
        }
    }

    /// <summary>Reads a <c>quantization_config</c>.</summary>
    /// <exception cref="ModelFormatException">Another quantization method, a newer version, or a value that is missing, unknown or out of range.</exception>
    public static QuantizationConfig Read(JsonConfig json)
    {
        string method = json.GetString("quant_method");
        if (method != QuantMethod) throw Error(json, "quant_method", $"expected {QuantMethod}, found {method}");
        int version = json.GetInt("format_version");
        if (version is < 1 or > CurrentVersion) throw Error(json, "format_version", $"expected 1 to {CurrentVersion}, found {version}{(version > CurrentVersion ? "; the file is newer than this library" : "")}");

        ModulePrecision standard = ReadPrecision(json, null);
        string[] inFloat = json.GetStringArray("modules_in_float", []);
        QuantizationConfig config = new()
        {
            Method = json.GetString("method"),
            Default = standard,
            Timesteps = ReadTimesteps(json),
            Modules = ReadModules(json, standard),
            ModulesInFloat = inFloat,
            Attention = ReadAttention(json),
            Rules = ReadRules(json),
            Calibration = json.GetObject("calibration")?.Root,
        };
        string? both = inFloat.FirstOrDefault(config.Modules.ContainsKey);
        if (both is not null) throw Error(json, "modules_in_float", $"'{both}' is also in modules");
        json.RejectUnknown(new HashSet<string>());
        return config;
    }

    /// <summary>Writes the object's members; keys that are empty are left out.</summary>
    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("quant_method", QuantMethod);
        json.WriteNumber("format_version", CurrentVersion);
        json.WriteString("method", Method);
        WritePrecision(json, Default, null);
        json.WriteStartArray("timesteps");
        foreach (float timestep in Timesteps) json.WriteNumberValue(timestep);
        json.WriteEndArray();
        json.WriteStartObject("modules");
        foreach ((string module, ModulePrecision precision) in Modules.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            json.WriteStartObject(module);
            WritePrecision(json, precision, Default);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteStartArray("modules_in_float");
        foreach (string module in ModulesInFloat) json.WriteStringValue(module);
        json.WriteEndArray();
        if (Attention != AttentionPrecision.Float) json.WriteString("attention", s_attentions.First(entry => entry.Value == Attention).Key);
        json.WriteStartArray("rules");
        foreach (PrecisionRule rule in Rules)
        {
            json.WriteStartObject();
            json.WriteString("modules", rule.Modules);
            json.WriteString("precision", rule.Precision);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (Calibration is { } calibration)
        {
            json.WritePropertyName("calibration");
            calibration.WriteTo(json);
        }

        json.WriteEndObject();
    }

    private static AttentionPrecision ReadAttention(JsonConfig json)
    {
        string word = json.GetString("attention", "float");
        return s_attentions.TryGetValue(word, out AttentionPrecision attention) ? attention : throw Error(json, "attention", $"expected one of {string.Join(", ", s_attentions.Keys)}, found {word}");
    }

    private static float[] ReadTimesteps(JsonConfig json)
    {
        float[] timesteps = [.. json.GetDoubleArray("timesteps", []).Select(value => (float)value)];
        for (int i = 0; i < timesteps.Length; i++)
        {
            if (!float.IsFinite(timesteps[i]) || (i > 0 && timesteps[i] <= timesteps[i - 1]))
                throw Error(json, "timesteps", FormattableString.Invariant($"must be finite and strictly ascending, found {timesteps[i]} at {i}"));
        }

        return timesteps;
    }

    private static Dictionary<string, ModulePrecision> ReadModules(JsonConfig json, ModulePrecision standard)
    {
        Dictionary<string, ModulePrecision> modules = [];
        if (json.GetObject("modules") is not { } overrides) return modules;
        foreach (string module in overrides.Keys)
        {
            JsonConfig settings = overrides.GetObject(module) ?? throw Error(json, $"modules.{module}", "expected an object, found null");
            modules.Add(module, ReadPrecision(settings, standard));
            settings.RejectUnknown(new HashSet<string>());
        }

        return modules;
    }

    private static PrecisionRule[] ReadRules(JsonConfig json)
        => [.. json.GetObjectArray("rules").Select(rule => new PrecisionRule(rule.GetString("modules"), rule.GetString("precision")))];

    private static ModulePrecision ReadPrecision(JsonConfig json, ModulePrecision? standard)
    {
        int weightBits = Bits(json, "weight_bits", standard?.WeightBits);
        int groupSize = json.GetInt("group_size", standard?.GroupSize ?? 0);
        if (groupSize < 0) throw Error(json, "group_size", $"expected 0 or more, found {groupSize}");
        bool symmetric = json.GetBool("symmetric", standard?.Symmetric);
        if (weightBits == 8 && !symmetric) throw Error(json, "symmetric", "weights of 8 bits are symmetric, found false");
        int activationBits = Bits(json, "activation_bits", standard?.ActivationBits);
        int split = standard is null ? 0 : json.GetInt("split_channel", 0);
        if (split < 0) throw Error(json, "split_channel", $"expected 0 or more, found {split}");
        return new ModulePrecision(weightBits, groupSize, symmetric, activationBits, split);
    }

    private static int Bits(JsonConfig json, string key, int? standard)
    {
        int bits = json.GetInt(key, standard);
        return bits is >= 2 and <= 8 ? bits : throw Error(json, key, $"expected 2 to 8, found {bits}");
    }

    // An override writes only what differs from the default.
    private static void WritePrecision(Utf8JsonWriter json, ModulePrecision precision, ModulePrecision? standard)
    {
        if (precision.WeightBits != standard?.WeightBits) json.WriteNumber("weight_bits", precision.WeightBits);
        if (precision.GroupSize != standard?.GroupSize) json.WriteNumber("group_size", precision.GroupSize);
        if (precision.Symmetric != standard?.Symmetric) json.WriteBoolean("symmetric", precision.Symmetric);
        if (precision.ActivationBits != standard?.ActivationBits) json.WriteNumber("activation_bits", precision.ActivationBits);
        if (precision.SplitChannel != 0) json.WriteNumber("split_channel", precision.SplitChannel);
    }

    private static ModelFormatException Error(JsonConfig json, string key, string problem) => new(json.File, json.PathOf(key), problem);
}

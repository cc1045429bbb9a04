using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// A <c>scheduler_config.json</c> read with types. Every scheduler has defaults of its own for the keys a file leaves out, so the reader asks for a key with
/// its default; keys
/// nobody asks for are ignored, as diffusers does.
/// </summary>
public sealed class SchedulerConfig
{
    private const int MaximumTrainSteps = 1_000_000;
    private readonly JsonObject _json;

    /// <summary>Wraps a configuration.</summary>
    /// <param name="json">The parsed file. An infinite number, which diffusers writes as a bare word, may be given as the string <c>"-Infinity"</c>.</param>
    /// <param name="file">The file's name, for errors.</param>
    /// <exception cref="ModelFormatException"><c>_class_name</c> or <c>num_train_timesteps</c> is missing or wrong.</exception>
    public SchedulerConfig(JsonObject json, string file)
    {
        (_json, File) = (json, file);
        try
        {
            // A repeated key comes to light when the object is first looked into.
            _ = json.Count;
        }
        catch (ArgumentException error)
        {
            throw new ModelFormatException(file, null, $"repeats a key: {error.Message}", error);
        }

        ClassName = Text("_class_name", null) ?? throw Error("_class_name", "is missing, expected the name of a scheduler");
        TrainSteps = Integer("num_train_timesteps", 1000, 1, MaximumTrainSteps);
    }

    /// <summary>The same noise schedule for another scheduler: keys that it does not know have no effect, those it misses have its defaults.</summary>
    /// <param name="className">diffusers' name of the scheduler.</param>
    public SchedulerConfig With(string className)
    {
        JsonObject json = _json.DeepClone().AsObject();
        json["_class_name"] = className;
        return new SchedulerConfig(json, File);
    }

    /// <summary>The file the configuration came from.</summary>
    public string File { get; }

    /// <summary>diffusers' name of the scheduler.</summary>
    public string ClassName { get; }

    /// <summary>Timesteps N of training.</summary>
    public int TrainSteps { get; }

    /// <summary>Whether the file gives a key a value other than null.</summary>
    internal bool Has(string key) => Find(key) is not null;

    /// <summary>Whether a key has this word.</summary>
    internal bool HasText(string key, string word) => Find(key)?.GetValueKind() == JsonValueKind.String && Text(key, null) == word;

    /// <summary>A number; infinities and "NaN" are errors unless allowed.</summary>
    internal double Number(string key, double absent, bool allowInfinite = false)
    {
        if (Find(key) is not { } node) return absent;
        double value = ToNumber(key, node);
        return double.IsFinite(value) || (allowInfinite && double.IsInfinity(value))
            ? value
            : throw Error(key, $"expected a finite number, found {node.ToJsonString()}");
    }

    /// <summary>An integer within bounds.</summary>
    internal int Integer(string key, int absent, int minimum, int maximum)
    {
        double value = Number(key, absent);
        return value == Math.Floor(value) && value >= minimum && value <= maximum
            ? (int)value
            : throw Error(key, string.Create(CultureInfo.InvariantCulture, $"expected an integer from {minimum} to {maximum}, found {value}"));
    }

    /// <summary>A flag.</summary>
    internal bool Flag(string key, bool absent) => Find(key) switch
    {
        null => absent,
        { } node when node.GetValueKind() is JsonValueKind.True or JsonValueKind.False => node.GetValue<bool>(),
        { } node => throw Error(key, $"expected true or false, found {node.ToJsonString()}"),
    };

    /// <summary>One of a few words.</summary>
    /// <param name="key">The key.</param>
    /// <param name="absent">The word that counts if the key is missing.</param>
    /// <param name="choices">The words supported, with what they stand for.</param>
    internal T Choice<T>(string key, string absent, params ReadOnlySpan<(string Word, T Value)> choices)
    {
        string word = Text(key, absent)!;
        foreach ((string candidate, T value) in choices)
        {
            if (candidate == word) return value;
        }

        var known = new List<string>();
        foreach ((string candidate, _) in choices) known.Add(candidate);
        throw Error(key, $"expected one of {string.Join(", ", known)}, found \"{word}\"");
    }

    /// <summary>A list of numbers, or null.</summary>
    internal double[]? Numbers(string key)
    {
        if (Find(key) is not { } node) return null;
        if (node is not JsonArray array) throw Error(key, $"expected a list of numbers, found {node.GetValueKind()}");
        return [.. array.Select((item, i) => item is null ? throw Error(key, $"expected a number at {i}, found null") : ToNumber(key, item))];
    }

    /// <summary>Refuses options that would change the result and that nothing here implements.</summary>
    internal void RefuseFlags(params ReadOnlySpan<string> keys)
    {
        foreach (string key in keys)
        {
            if (Flag(key, false)) throw Error(key, $"is not supported by {ClassName} here, expected false");
        }
    }

    /// <summary>An error that names the file and the key.</summary>
    internal ModelFormatException Error(string key, string problem) => new(File, key, problem);

    private string? Text(string key, string? absent) => Find(key) switch
    {
        null => absent,
        { } node when node.GetValueKind() == JsonValueKind.String => node.GetValue<string>(),
        { } node => throw Error(key, $"expected a word, found {node.ToJsonString()}"),
    };

    private JsonNode? Find(string key) => _json.TryGetPropertyValue(key, out JsonNode? node) ? node : null;

    private double ToNumber(string key, JsonNode node) => node.GetValueKind() switch
    {
        JsonValueKind.Number => double.Parse(node.ToJsonString(), CultureInfo.InvariantCulture),
        JsonValueKind.String when node.GetValue<string>() == "-Infinity" => double.NegativeInfinity,
        JsonValueKind.String when node.GetValue<string>() == "Infinity" => double.PositiveInfinity,
        _ => throw Error(key, $"expected a number, found {node.ToJsonString()}"),
    };
}

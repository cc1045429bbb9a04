using System.Globalization;
using System.Text;
using System.Text.Json;

namespace LowBitDiffusion.Formats;

/// <summary>
/// A configuration: a JSON object read key by key with the type that is expected. Errors name the file, the key, what was expected and what was found.
/// It remembers which keys were read, so that a reader can refuse a file with settings it does not know (<see cref="RejectUnknown"/>). Not thread-safe.
/// </summary>
public sealed class JsonConfig
{
    private readonly string _prefix;
    private readonly Dictionary<string, JsonElement> _values = [];
    private readonly HashSet<string> _read = [];

    private JsonConfig(string file, string prefix, JsonElement root)
    {
        (File, _prefix, Root) = (file, prefix, root);
        if (root.ValueKind != JsonValueKind.Object)
            throw new ModelFormatException(file, prefix.Length == 0 ? null : prefix.TrimEnd('.'), $"expected a JSON object, found {Describe(root)}");
        foreach (JsonProperty property in root.EnumerateObject()) _values.Add(property.Name, property.Value);
    }

    /// <summary>The file it was read from.</summary>
    public string File { get; }

    /// <summary>The object itself.</summary>
    public JsonElement Root { get; }

    /// <summary>Every key, in the order of the file.</summary>
    public IEnumerable<string> Keys => _values.Keys;

    /// <summary>Reads a file. <c>NaN</c>, <c>Infinity</c> and <c>-Infinity</c> are accepted although they are not JSON, because Python writes them.</summary>
    /// <exception cref="ModelFormatException">The file is missing, cannot be read or is not a JSON object.</exception>
    public static JsonConfig Open(string path) => new(path, "", JsonText.ReadFile(path));

    /// <summary>Reads a text.</summary>
    /// <param name="origin">What messages call it.</param>
    /// <param name="json">The text.</param>
    /// <exception cref="ModelFormatException">Not a JSON object.</exception>
    public static JsonConfig Parse(string origin, string json) => new(origin, "", JsonText.Parse(origin, Encoding.UTF8.GetBytes(json)));

    /// <summary>Whether the key is there, also with null. Does not count as reading it.</summary>
    public bool Has(string key) => _values.ContainsKey(key);

    /// <summary>Whether the key is there and not null. Counts as reading it.</summary>
    public bool HasValue(string key) => TryGet(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>The value of a key as it is, if the key is there. Counts as reading it.</summary>
    public bool TryGet(string key, out JsonElement value)
    {
        bool found = _values.TryGetValue(key, out value);
        if (found) _read.Add(key);
        return found;
    }

    /// <summary>An integer; <paramref name="whenMissing"/> if the key is not there, an error if there is no such value. Null in the file is an error.</summary>
    /// <exception cref="ModelFormatException">Missing, or not an integer of 32 bits.</exception>
    public int GetInt(string key, int? whenMissing = null) => GetNullableInt(key, Missing(key, whenMissing)) ?? throw Wrong(key, "an integer");

    /// <summary>An integer or null; <paramref name="whenMissing"/> if the key is not there.</summary>
    /// <exception cref="ModelFormatException">Neither an integer of 32 bits nor null.</exception>
    public int? GetNullableInt(string key, int? whenMissing = null) => Get(key, whenMissing, "an integer", Integer);

    /// <summary>A number, also infinite or NaN; <paramref name="whenMissing"/> if the key is not there, an error if there is no such value. Null in the file is an error.</summary>
    /// <exception cref="ModelFormatException">Missing, or not a number.</exception>
    public double GetDouble(string key, double? whenMissing = null) => GetNullableDouble(key, Missing(key, whenMissing)) ?? throw Wrong(key, "a number");

    /// <summary>A number, also infinite or NaN, or null; <paramref name="whenMissing"/> if the key is not there.</summary>
    /// <exception cref="ModelFormatException">Neither a number nor null.</exception>
    public double? GetNullableDouble(string key, double? whenMissing = null) => Get(key, whenMissing, "a number", Number);

    /// <summary><see cref="GetDouble"/>, rounded to single precision.</summary>
    /// <exception cref="ModelFormatException">Missing, or not a number.</exception>
    public float GetFloat(string key, float? whenMissing = null) => (float)GetDouble(key, whenMissing);

    /// <summary><see cref="GetNullableDouble"/>, rounded to single precision.</summary>
    /// <exception cref="ModelFormatException">Neither a number nor null.</exception>
    public float? GetNullableFloat(string key, float? whenMissing = null) => (float?)GetNullableDouble(key, whenMissing);

    /// <summary>A boolean; <paramref name="whenMissing"/> if the key is not there, an error if there is no such value. Null in the file is an error.</summary>
    /// <exception cref="ModelFormatException">Missing, or not a boolean.</exception>
    public bool GetBool(string key, bool? whenMissing = null) => GetNullableBool(key, Missing(key, whenMissing)) ?? throw Wrong(key, "a boolean");

    /// <summary>A boolean or null; <paramref name="whenMissing"/> if the key is not there.</summary>
    /// <exception cref="ModelFormatException">Neither a boolean nor null.</exception>
    public bool? GetNullableBool(string key, bool? whenMissing = null)
        => Get<bool?>(key, whenMissing, "a boolean", static value => value.ValueKind switch { JsonValueKind.True => true, JsonValueKind.False => false, _ => null });

    /// <summary>A text; <paramref name="whenMissing"/> if the key is not there, an error if there is no such value. Null in the file is an error.</summary>
    /// <exception cref="ModelFormatException">Missing, or not a text.</exception>
    public string GetString(string key, string? whenMissing = null)
    {
        if (whenMissing is null && !Has(key)) throw MissingKey(key);
        return GetNullableString(key, whenMissing) ?? throw Wrong(key, "a string");
    }

    /// <summary>A text or null; <paramref name="whenMissing"/> if the key is not there.</summary>
    /// <exception cref="ModelFormatException">Neither a text nor null.</exception>
    public string? GetNullableString(string key, string? whenMissing = null) => Get(key, whenMissing, "a string", Text);

    /// <summary>One of a few texts; <paramref name="whenMissing"/> if the key is not there, an error if that is null.</summary>
    /// <exception cref="ModelFormatException">Missing, or none of the allowed texts.</exception>
    public string GetOneOf(string key, string? whenMissing, params ReadOnlySpan<string> allowed)
    {
        string value = GetString(key, whenMissing);
        return allowed.Contains(value) ? value : throw new ModelFormatException(File, _prefix + key, $"expected one of {string.Join(", ", allowed)}, found {value}");
    }

    /// <summary>An array of integers; <paramref name="whenMissing"/> if the key is not there, an error if that is null. Null in the file is an error.</summary>
    /// <exception cref="ModelFormatException">Missing, or not an array of integers.</exception>
    public int[] GetIntArray(string key, int[]? whenMissing = null)
        => GetArray(key, whenMissing, "an array of integers", static value => Integer(value) ?? throw new FormatException());

    /// <summary>An array of <paramref name="count"/> integers, or one integer that stands for all of them: diffusers' per-block settings.</summary>
    /// <exception cref="ModelFormatException">Missing, neither an integer nor an array of integers, or an array of another length.</exception>
    public int[] GetIntPerBlock(string key, int count, int? whenMissing = null)
    {
        if (!TryGet(key, out JsonElement value) || value.ValueKind != JsonValueKind.Array)
        {
            int single = GetInt(key, whenMissing);
            return [.. Enumerable.Repeat(single, count)];
        }

        int[] values = GetIntArray(key);
        return values.Length == count ? values : throw new ModelFormatException(File, _prefix + key, $"expected an integer or an array of {count}, found {values.Length}");
    }

    /// <summary>An array of numbers; <paramref name="whenMissing"/> if the key is not there, an error if that is null. Null in the file is an error.</summary>
    /// <exception cref="ModelFormatException">Missing, or not an array of numbers.</exception>
    public double[] GetDoubleArray(string key, double[]? whenMissing = null)
        => GetArray(key, whenMissing, "an array of numbers", static value => Number(value) ?? throw new FormatException());

    /// <summary>An array of texts; <paramref name="whenMissing"/> if the key is not there, an error if that is null. Null in the file is an error.</summary>
    /// <exception cref="ModelFormatException">Missing, or not an array of texts.</exception>
    public string[] GetStringArray(string key, string[]? whenMissing = null)
        => GetArray(key, whenMissing, "an array of strings", static value => Text(value) ?? throw new FormatException());

    /// <summary>An object; null if the key is not there or null. Its keys are tracked on their own.</summary>
    /// <exception cref="ModelFormatException">Neither an object nor null.</exception>
    public JsonConfig? GetObject(string key)
    {
        if (!TryGet(key, out JsonElement value) || value.ValueKind == JsonValueKind.Null) return null;
        return new JsonConfig(File, $"{_prefix}{key}.", value);
    }

    /// <summary>An array of objects; empty if the key is not there or null. The keys of each are tracked on their own.</summary>
    /// <exception cref="ModelFormatException">Neither an array of objects nor null.</exception>
    public JsonConfig[] GetObjectArray(string key)
    {
        if (!HasValue(key)) return [];
        int index = 0;
        return [.. GetArray(key, null, "an array of objects", static value => value).Select(value => new JsonConfig(File, $"{_prefix}{key}[{index++}].", value))];
    }

    /// <summary>The key with those of the objects around it, for messages: <c>quantization_config.weight_bits</c>.</summary>
    public string PathOf(string key) => _prefix + key;

    /// <summary>
    /// Refuses settings that nobody read and that may change the arithmetic: every key that was not read, is not in <paramref name="ignorable"/>, does not begin
    /// with an underscore, and whose value is neither null nor false.
    /// </summary>
    /// <param name="ignorable">Keys known not to change the result, e.g. <c>dropout</c>.</param>
    /// <exception cref="ModelFormatException">There are such keys; all are listed.</exception>
    public void RejectUnknown(IReadOnlySet<string> ignorable)
    {
        string[] unknown =
        [
            .. _values.Where(pair => !_read.Contains(pair.Key) && !ignorable.Contains(pair.Key) && !pair.Key.StartsWith('_')
                && pair.Value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False)).Select(pair => $"{_prefix}{pair.Key} = {Describe(pair.Value)}"),
        ];
        if (unknown.Length > 0) throw new ModelFormatException(File, null, $"unknown settings that may change the result: {string.Join("; ", unknown)}");
    }

    private T? Missing<T>(string key, T? whenMissing) where T : struct => whenMissing is null && !Has(key) ? throw MissingKey(key) : whenMissing;

    private T Get<T>(string key, T whenMissing, string expected, Func<JsonElement, T?> convert)
    {
        if (!TryGet(key, out JsonElement value)) return whenMissing;
        return value.ValueKind == JsonValueKind.Null ? default! : convert(value) ?? throw Wrong(key, expected);
    }

    private T[] GetArray<T>(string key, T[]? whenMissing, string expected, Func<JsonElement, T> convert)
    {
        if (!TryGet(key, out JsonElement value)) return whenMissing ?? throw MissingKey(key);
        if (value.ValueKind != JsonValueKind.Array) throw Wrong(key, expected);
        try
        {
            return [.. value.EnumerateArray().Select(convert)];
        }
        catch (FormatException)
        {
            throw Wrong(key, expected);
        }
    }

    private ModelFormatException MissingKey(string key) => new(File, _prefix + key, "no such key");

    private ModelFormatException Wrong(string key, string expected) => new(File, _prefix + key, $"expected {expected}, found {Describe(_values[key])}");

    private static int? Integer(JsonElement value) => value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int integer) ? integer : null;

    private static double? Number(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Number => value.GetDouble(),
        JsonValueKind.String => Text(value) switch { "NaN" => double.NaN, "Infinity" => double.PositiveInfinity, "-Infinity" => double.NegativeInfinity, _ => null },
        _ => null,
    };

    private static string? Text(JsonElement value)
    {
        try
        {
            return value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair is valid JSON but not a text.
            return null;
        }
    }

    private static string Describe(JsonElement value)
    {
        string text = value.GetRawText();
        return text.Length <= 60 ? text : string.Create(CultureInfo.InvariantCulture, $"{text.AsSpan(0, 60)}…");
    }
}

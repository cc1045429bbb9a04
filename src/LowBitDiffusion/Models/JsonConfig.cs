using System.Text.Json;

namespace LowBitDiffusion.Models;

internal sealed class JsonConfig(string file, JsonElement root)
{
    private readonly HashSet<string> _read = [];
    public string File => file;
    public static JsonConfig Open(string path) => new(path, JsonDocument.Parse(System.IO.File.ReadAllText(path)).RootElement.Clone());
    public bool TryGet(string key, out JsonElement value) { _read.Add(key); return root.TryGetProperty(key, out value); }
    private JsonElement? Value(string key) => TryGet(key, out JsonElement e) && e.ValueKind != JsonValueKind.Null ? e : null;
    public bool HasValue(string key) => Value(key) is not null;
    public int GetInt(string key, int? whenMissing = null) => Value(key)?.GetInt32() ?? whenMissing!.Value;
    public int? GetNullableInt(string key, int? whenMissing = null) => TryGet(key, out JsonElement e) ? e.ValueKind == JsonValueKind.Null ? null : e.GetInt32() : whenMissing;
    public double GetDouble(string key, double? whenMissing = null) => Value(key)?.GetDouble() ?? whenMissing!.Value;
    public float GetFloat(string key, float? whenMissing = null) => (float)GetDouble(key, whenMissing);
    public bool GetBool(string key, bool? whenMissing = null) => Value(key)?.GetBoolean() ?? whenMissing!.Value;
    public string? GetNullableString(string key, string? whenMissing = null) => TryGet(key, out JsonElement e) ? e.GetString() : whenMissing;
    public int[] GetIntArray(string key, int[]? whenMissing = null) => [.. Value(key)?.EnumerateArray().Select(e => e.GetInt32()) ?? whenMissing!];
    public int[] GetIntPerBlock(string key, int count, int? whenMissing = null) => Value(key) is { ValueKind: JsonValueKind.Array } ? GetIntArray(key) : [.. Enumerable.Repeat(GetInt(key, whenMissing), count)];
    public string[] GetStringArray(string key, string[]? whenMissing = null) => [.. Value(key)?.EnumerateArray().Select(e => e.GetString()!) ?? whenMissing!];
    public void RejectUnknown(IReadOnlySet<string> ignorable)
    {
        string[] unknown = [.. root.EnumerateObject().Where(p => p.Value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False)).Select(p => p.Name).Where(n => n[0] != '_' && !_read.Contains(n) && !ignorable.Contains(n))];
        if (unknown.Length > 0) throw new ModelFormatException(file, unknown[0], "unknown");
    }
}

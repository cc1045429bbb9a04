using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Quantizer.PostTraining;

namespace LowBitDiffusion.Quantizer.Methods;

/// <summary>
/// What a run that was stopped needs to go on: the folder <c>OUT.partial</c> beside the output. It appears with the first thing that is kept and goes when the output is written.
/// <code>
/// run.json      the request, and numbers that were decided by measuring time, which must not be measured again
/// *             files of the method
/// </code>
/// </summary>
public sealed class SavedRun : IDisposable
{
    private const string Format = "lowbit-run-1";

    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly JsonObject _request;
    private readonly Dictionary<string, double> _decisions = [];
    private readonly double _secondsBefore;
    private bool _removed;

    /// <summary>Finds the stopped run of a request, or begins one.</summary>
    /// <exception cref="OutputException">There is one that is neither to be resumed nor overwritten.</exception>
    /// <exception cref="InvalidRequestException">The stopped run had another request.</exception>
    /// <exception cref="ModelFormatException">Its file is damaged.</exception>
    internal SavedRun(QuantizationRequest request)
    {
        Folder = $"{Path.TrimEndingDirectorySeparator(Path.GetFullPath(request.Output))}.partial";
        _request = Describe(request);
        if (!Directory.Exists(Folder)) return;
        if (!request.Resume)
        {
            if (!request.Overwrite) throw new OutputException(Folder, "holds a stopped run, which can be resumed or overwritten");
            Guard(() => Directory.Delete(Folder, recursive: true));
            return;
        }

        if (!File.Exists(RunFile)) return;
        JsonConfig saved = JsonConfig.Open(RunFile);
        string format = saved.GetString("format");
        if (format != Format) throw new ModelFormatException(RunFile, "format", $"expected {Format}, found {format}");
        Compare(saved);
        _secondsBefore = saved.GetDouble("seconds");
        if (saved.GetObject("decisions") is not { } decisions) return;
        foreach (string name in decisions.Keys) _decisions.Add(name, decisions.GetDouble(name));
    }

    /// <summary>The folder; it may not exist yet.</summary>
    public string Folder { get; }

    /// <summary>Seconds that the run has taken, interruptions left out.</summary>
    public double Seconds => _secondsBefore + _clock.Elapsed.TotalSeconds;

    private string RunFile => Path.Combine(Folder, "run.json");

    /// <summary>Path of a file of the method in the folder, which is made.</summary>
    /// <exception cref="OutputException">The folder cannot be made.</exception>
    public string PathOf(string file)
    {
        if (!Directory.Exists(Folder)) Save();
        return Path.Combine(Folder, file);
    }

    /// <summary>A number that depends on the time something takes: decided once, kept for all that resume the run.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="decide">Decides it.</param>
    /// <exception cref="OutputException">It cannot be kept.</exception>
    public double Decide(string name, Func<double> decide)
    {
        if (_decisions.TryGetValue(name, out double known)) return known;
        double decided = decide();
        _decisions.Add(name, decided);
        Save();
        return decided;
    }

    /// <summary>Removes the folder.</summary>
    internal void Remove()
    {
        _removed = true;
        if (Directory.Exists(Folder)) Guard(() => Directory.Delete(Folder, recursive: true));
    }

    /// <summary>Notes the time that was spent, if there is anything to go on with.</summary>
    public void Dispose()
    {
        if (!_removed && Directory.Exists(Folder)) Save();
    }

    private void Save()
    {
        Guard(() => Directory.CreateDirectory(Folder));
        JsonObject json = new()
        {
            ["format"] = Format,
            ["seconds"] = Seconds,
            ["decisions"] = new JsonObject(_decisions.Select(decision => KeyValuePair.Create(decision.Key, (JsonNode?)decision.Value))),
            ["request"] = _request.DeepClone(),
        };
        OutputFile.WriteAllText(RunFile, json.ToJsonString());
    }

    /// <summary>All of a request that changes what comes out, or how the time is used; without encoded prompts, which the calibration set holds.</summary>
    private static JsonObject Describe(QuantizationRequest request) => (JsonObject)JsonNode.Parse(JsonSerializer.Serialize(
        request with { Model = Path.GetFullPath(request.Model), Output = "", Resume = false, Overwrite = false, Threads = null, ReportImages = 0, Budget = null, PromptEmbeddings = null }))!;

    private void Compare(JsonConfig saved)
    {
        JsonObject found = JsonObject.Create(saved.GetObject("request")?.Root ?? default) ?? [];
        foreach ((string name, JsonNode? value) in _request)
        {
            if (!JsonNode.DeepEquals(value, found[name]))
                throw new InvalidRequestException("resume", $"the stopped run in {Folder} has {name} {found[name]?.ToJsonString() ?? "null"}, this request {value?.ToJsonString() ?? "null"}");
        }
    }

    private void Guard(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OutputException(Folder, $"cannot be written: {e.Message}", e);
        }
    }
}

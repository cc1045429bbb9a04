using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Verification;

/// <summary>Runs a network for a golden case.</summary>
/// <param name="graph">The network for the inputs' shapes.</param>
/// <param name="weights">Its parameters.</param>
/// <param name="inputs">Inputs by name.</param>
/// <param name="onTap">To be called with the outputs of modules, by name; an executor that cannot look inside calls nothing.</param>
/// <param name="cancellationToken">To be checked between layers.</param>
/// <returns>Outputs by name, row-major, images NCHW.</returns>
public delegate IReadOnlyDictionary<string, float[]> GoldenExecutor(
    Graph graph, ModelWeights weights, IReadOnlyDictionary<string, float[]> inputs, Action<string, float[]> onTap, CancellationToken cancellationToken);

/// <summary>
/// A model with recorded results: a folder with <c>config.json</c>, weights, and one or more <c>io*.safetensors</c> that hold <c>in.*</c>, <c>out.*</c> and outputs of modules
/// <c>act.*</c>. Tolerances of outputs come from <c>index.json</c> in the parent folder if it lists the case.
/// </summary>
public sealed class GoldenCase : IDisposable
{
    private const double DefaultTolerance = 1e-4;

    private readonly string _folder;
    private readonly ComponentFolder _component;

    private GoldenCase(string folder, ComponentFolder component)
    {
        (_folder, _component) = (folder, component);
        Network = NetworkRegistry.Create(component.Config);
    }

    /// <summary>The network.</summary>
    public INetwork Network { get; }

    /// <summary>Files with inputs and expected results.</summary>
    public IReadOnlyList<string> Runs => [.. Directory.GetFiles(_folder, "io*.safetensors").Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal)];

    /// <summary>Opens a case's folder.</summary>
    /// <exception cref="ModelFormatException">Configuration or weights are missing, damaged or of an unknown kind.</exception>
    public static GoldenCase Open(string folder)
    {
        ComponentFolder component = ComponentFolder.Open(folder);
        try
        {
            return new GoldenCase(folder, component);
        }
        catch
        {
            component.Dispose();
            throw;
        }
    }

    /// <summary>Runs one file and compares every output, and every captured module output that the executor reports.</summary>
    /// <exception cref="ModelFormatException">The file is damaged or does not fit the network.</exception>
    /// <exception cref="GraphException">The inputs' shapes do not fit the network.</exception>
    public IReadOnlyList<GoldenComparison> Run(string run, GoldenExecutor executor, CancellationToken cancellationToken = default)
    {
        using SafeTensorsFile io = SafeTensorsFile.Open(Path.Combine(_folder, run));
        (Dictionary<string, TensorShape> shapes, Dictionary<string, float[]> inputs) = Inputs(io);
        Graph graph = Network.Build(shapes);
        if (inputs.Keys.FirstOrDefault(name => !graph.Inputs.ContainsKey(name)) is { } unknown)
            throw new ModelFormatException(io.Origin, $"in.{unknown}", $"{Network.ClassName} has no such input; it has {string.Join(", ", graph.Inputs.Keys)}");
        Dictionary<string, GoldenComparison> captured = [];
        ModelWeights weights = ModelLoader.Open(_component, Network, shapes);
        IReadOnlyDictionary<string, float[]> outputs = executor(graph, weights, inputs, Capture, cancellationToken);

        List<GoldenComparison> comparisons = [];
        foreach (string name in io.Tensors.Keys.Order(StringComparer.Ordinal))
        {
            if (name.StartsWith("out.", StringComparison.Ordinal))
            {
                if (!outputs.TryGetValue(name["out.".Length..], out float[]? found)) throw new ModelFormatException(io.Origin, name, $"{Network.ClassName} has no such output; it has {string.Join(", ", outputs.Keys)}");
                (double maxAbs, double relL2)? tolerance = Tolerance(run, name["out.".Length..]);
                comparisons.Add(GoldenComparison.Of(name, io.ReadSingles(name), found, tolerance?.maxAbs, tolerance?.relL2 ?? DefaultTolerance));
            }
            else if (name.StartsWith("act.", StringComparison.Ordinal))
            {
                if (!graph.Taps.ContainsKey(name["act.".Length..])) throw new ModelFormatException(io.Origin, name, $"{Network.ClassName} has no such module");
                if (captured.TryGetValue(name, out GoldenComparison? comparison)) comparisons.Add(comparison);
            }
        }

        return comparisons;

        void Capture(string module, float[] value)
        {
            string name = $"act.{module}";
            if (io.Tensors.ContainsKey(name)) captured[name] = GoldenComparison.Of(name, io.ReadSingles(name), value, maxAbsTolerance: null, relL2Tolerance: null);
        }
    }

    /// <summary>Closes the weights.</summary>
    public void Dispose() => _component.Dispose();

    private static (Dictionary<string, TensorShape> Shapes, Dictionary<string, float[]> Values) Inputs(SafeTensorsFile io)
    {
        Dictionary<string, TensorShape> shapes = [];
        Dictionary<string, float[]> values = [];
        foreach (TensorInfo info in io.Tensors.Values.Where(info => info.Name.StartsWith("in.", StringComparison.Ordinal)))
        {
            string name = info.Name["in.".Length..];
            if (info.Shape.Any(extent => extent is < 1 or > int.MaxValue)) throw new ModelFormatException(io.Origin, info.Name, $"expected positive extents, found [{string.Join(", ", info.Shape)}]");
            shapes[name] = new TensorShape([.. info.Shape.Select(extent => (int)extent)]);
            values[name] = io.ReadSingles(info.Name);
        }

        // diffusers accepts one timestep for the whole batch.
        if (shapes.TryGetValue("timestep", out TensorShape? timestep) && shapes.TryGetValue("sample", out TensorShape? sample) && timestep.Elements == 1)
        {
            shapes["timestep"] = new TensorShape(sample[0]);
            values["timestep"] = [.. Enumerable.Repeat(values["timestep"][0], sample[0])];
        }

        return (shapes, values);
    }

    private (double MaxAbs, double RelL2)? Tolerance(string run, string output)
    {
        string folder = Path.GetFullPath(_folder).TrimEnd(Path.DirectorySeparatorChar), index = Path.Combine(Path.GetDirectoryName(folder) ?? folder, "index.json");
        if (!File.Exists(index)) return null;
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(index));
            foreach (JsonElement entry in document.RootElement.GetProperty("cases").EnumerateArray())
            {
                if (entry.GetProperty("name").GetString() != Path.GetFileName(folder)) continue;
                foreach (JsonElement candidate in entry.GetProperty("runs").EnumerateArray())
                {
                    if (candidate.GetProperty("file").GetString() == run && candidate.GetProperty("tolerance").TryGetProperty(output, out JsonElement tolerance))
                        return (tolerance.GetProperty("max_abs").GetDouble(), tolerance.GetProperty("rel_l2").GetDouble());
                }
            }
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new ModelFormatException(index, null, $"expected a list of golden cases: {e.Message}", e);
        }

        return null;
    }
}

using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Reference;

/// <summary>A golden case of kind "op" as a graph of one op, with its parameters under the module name <c>op</c>.</summary>
internal sealed class GoldenOp : IDisposable
{
    private readonly SafeTensorsFile _file;
    private readonly JsonElement _definition;

    private GoldenOp(string name)
    {
        _file = SafeTensorsFile.Open(Repository.Golden($"{name}.safetensors"));
        using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(Repository.Golden($"{name}.json")));
        _definition = document.RootElement.Clone();
        Inputs = [];
        Graph = Build(_definition.GetProperty("op").GetString()!);
        InMemoryTensors parameters = new();
        foreach (string parameter in (string[])["weight", "bias"])
        {
            if (_file.Tensors.TryGetValue($"in.{parameter}", out TensorInfo? info)) parameters.Add($"op.{parameter}", info.Shape, Read($"in.{parameter}"));
        }

        Weights = new ModelWeights(parameters);
    }

    public Graph Graph { get; }

    public ModelWeights Weights { get; }

    public Dictionary<string, float[]> Inputs { get; }

    public double MaxAbs => _definition.GetProperty("tolerance").GetProperty("max_abs").GetDouble();

    public static GoldenOp Open(string name) => new(name);

    /// <summary>Names of the cases that are one op of a graph; softmax alone is part of attention.</summary>
    public static IEnumerable<string> Names()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllBytes(Repository.Golden("index.json")));
        return [.. index.RootElement.GetProperty("cases").EnumerateArray()
            .Where(entry => entry.GetProperty("kind").GetString() == "op")
            .Select(entry => entry.GetProperty("name").GetString()!)
            .Where(name => name != "ops/softmax")];
    }

    /// <summary>The recorded result, as the graph lays it out.</summary>
    public float[] Expected() => IsAttention ? HeadsToTokens("out") : Read("out");

    public void Dispose() => _file.Dispose();

    private bool IsAttention => _file.Tensors.ContainsKey("in.q");

    private JsonElement Params => _definition.GetProperty("params");

    private Graph Build(string op)
    {
        GraphBuilder g = new();
        g.Output("out", op switch
        {
            _ when op.StartsWith("conv2d_") => Convolution(g),
            _ when op.StartsWith("linear") => g.Linear("op", Input(g, "x"), (int)Shape("in.weight")[0], bias: _file.Tensors.ContainsKey("in.bias")),
            _ when op.StartsWith("group_norm") => g.GroupNorm("op", Input(g, "x"), Params.GetProperty("groups").GetInt32(), Params.GetProperty("eps").GetSingle()),
            _ when op.StartsWith("layer_norm") => g.LayerNorm("op", Input(g, "x"), Params.GetProperty("eps").GetSingle(), affine: _file.Tensors.ContainsKey("in.weight")),
            _ when op.StartsWith("timestep_embedding") => g.TimestepEmbedding(
                Input(g, "timesteps"), Params.GetProperty("dim").GetInt32(), Params.GetProperty("flip_sin_to_cos").GetBoolean(), Params.GetProperty("downscale_freq_shift").GetSingle()),
            _ when op.StartsWith("upsample_nearest") => g.Upsample(Input(g, "x"), (int)Shape("out")[2], (int)Shape("out")[3]),
            _ when op.StartsWith("attention") => Attention(g),
            "avg_pool_2x2" => g.AveragePool(Input(g, "x")),
            "geglu" => g.Geglu(g.Linear("op", Input(g, "x"), (int)Shape("in.weight")[0])),
            "silu" => g.Silu(Input(g, "x")),
            "gelu" => g.Activation(ActivationKind.Gelu, Input(g, "x")),
            "gelu_tanh" => g.Activation(ActivationKind.GeluTanh, Input(g, "x")),
            "quick_gelu" => g.Activation(ActivationKind.QuickGelu, Input(g, "x")),
            _ => throw new NotSupportedException($"golden op {op}"),
        });
        return g.Build();
    }

    private Node Convolution(GraphBuilder g)
    {
        Padding padding = default;
        if (Params.TryGetProperty("padding", out JsonElement sides)) padding = Padding.Same(sides[0].GetInt32());
        if (Params.TryGetProperty("padding_left_right_top_bottom", out sides))
            padding = new Padding(Left: sides[0].GetInt32(), Right: sides[1].GetInt32(), Top: sides[2].GetInt32(), Bottom: sides[3].GetInt32());
        IReadOnlyList<long> weight = Shape("in.weight");
        return g.Conv2d("op", Input(g, "x"), (int)weight[0], (int)weight[2], Params.GetProperty("stride").GetInt32(), padding);
    }

    private Node Attention(GraphBuilder g)
    {
        // Recorded as [N, heads, L, d]; a graph has [N, L, heads·d].
        Node[] qkv = [.. new[] { "q", "k", "v" }.Select(name =>
        {
            IReadOnlyList<long> shape = Shape($"in.{name}");
            Inputs[name] = HeadsToTokens($"in.{name}");
            return g.Input(name, new((int)shape[0], (int)shape[2], (int)(shape[1] * shape[3])), Dependence.Sample);
        })];
        Node? mask = null;
        if (_file.Tensors.ContainsKey("in.mask"))
        {
            Inputs["mask"] = Read("in.mask");
            mask = g.Input("mask", new((int)Shape("in.mask")[0], (int)Shape("in.mask")[^1]), Dependence.Condition);
        }

        return g.Attention(qkv[0], qkv[1], qkv[2], (int)Shape("in.q")[1], causal: _definition.GetProperty("op").GetString()!.Contains("causal"), mask);
    }

    private Node Input(GraphBuilder g, string name)
    {
        Inputs[name] = Read($"in.{name}");
        int[] shape = [.. Shape($"in.{name}").Select(extent => (int)extent)];
        return g.Input(name, shape.Length == 1 && name == "x" ? new(1, shape[0]) : new(shape), Dependence.Sample);
    }

    private IReadOnlyList<long> Shape(string tensor) => _file.Tensors[tensor].Shape;

    private float[] Read(string tensor) => _file.ReadSingles(tensor);

    private float[] HeadsToTokens(string tensor)
    {
        (int heads, int length, int width) = ((int)Shape(tensor)[1], (int)Shape(tensor)[2], (int)Shape(tensor)[3]);
        float[] from = Read(tensor);
        float[] to = new float[from.Length];
        for (int i = 0; i < from.Length; i++)
        {
            int c = i % width, l = i / width % length, h = i / width / length % heads, n = i / width / length / heads;
            to[((n * length + l) * heads + h) * width + c] = from[i];
        }

        return to;
    }
}

using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.Blocks;
using LowBitDiffusion.Quantizer.Tests.Support;

namespace LowBitDiffusion.Quantizer.Tests.Autograd;

/// <summary>A golden case of kind "autograd" as a graph whose modules are called <c>block.*</c> and whose output is <c>y</c>.</summary>
internal sealed class GoldenBlock
{
    private const string Name = "block";

    private readonly GoldenCase _golden;
    private readonly GraphBuilder _g = new();

    public GoldenBlock(GoldenCase golden)
    {
        _golden = golden;
        string module = golden.Json.GetProperty("module").GetString()!;
        _g.Output("y", module switch
        {
            "ResnetBlock2D" => Resnet(),
            "BasicTransformerBlock" when Has("num_embeds_ada_norm") => DiT(),
            "BasicTransformerBlock" => Transformer(),
            _ => throw new NotSupportedException($"golden module {module}"),
        });
        Graph = _g.Build();
        InMemoryTensors tensors = new(golden.Name);
        foreach (Parameter parameter in Graph.Parameters) tensors.Add(parameter.Name, [.. parameter.Shape.Select(extent => (long)extent)], golden[$"w.{Stored(parameter)}"]);
        Weights = new ModelWeights(tensors);
    }

    public Graph Graph { get; }

    public ModelWeights Weights { get; }

    public Dictionary<string, float[]> Inputs => Graph.Inputs.Keys.ToDictionary(name => name, name => _golden[$"in.{name}"]);

    /// <summary>The parameter's name in the golden file.</summary>
    public static string Stored(Parameter parameter) => parameter.Name[(Name.Length + 1)..];

    private Node Resnet()
    {
        ResnetBlock2D block = new()
        {
            Groups = Int("groups"),
            Epsilon = Single("eps"),
            ScaleShift = Has("time_embedding_norm") && Params.GetProperty("time_embedding_norm").GetString() == "scale_shift",
        };
        Node? time = Params.GetProperty("temb_channels").ValueKind == JsonValueKind.Null ? null : _g.Silu(Input("temb"));
        return block.Write(_g, Name, Input("x"), time, Int("out_channels"));
    }

    private Node Transformer()
    {
        Node h = Input("x"), context = Input("context");
        float epsilon = Single("norm_eps");
        Attention attention = new(Int("heads"), Int("head_dim"), Bias: false);
        h = _g.Add(attention.Write(_g, $"{Name}.attn1", _g.LayerNorm($"{Name}.norm1", h, epsilon)), h);
        h = _g.Add(attention.Write(_g, $"{Name}.attn2", _g.LayerNorm($"{Name}.norm2", h, epsilon), context), h);
        return _g.Add(FeedForward.Write(_g, $"{Name}.ff", _g.LayerNorm($"{Name}.norm3", h, epsilon), activation: null), h);
    }

    private Node DiT()
    {
        int width = Int("dim");
        Node h = Input("x"), timestep = Input("timestep"), labels = Input("class_labels");
        Node embedding = _g.Add(
            TimestepEmbedding.Write(_g, $"{Name}.norm1.emb.timestep_embedder", _g.TimestepEmbedding(timestep, 256, cosineFirst: true, shift: 1), width),
            _g.Embedding($"{Name}.norm1.emb.class_embedder.embedding_table", labels, Int("num_embeds_ada_norm") + 1, width));
        Node[] v = _g.Chunk(_g.Linear($"{Name}.norm1.linear", _g.Silu(embedding), 6 * width), 6);
        Node normed = _g.Modulate(_g.LayerNorm($"{Name}.norm1.norm", h, Single("norm1_eps"), affine: false), scale: v[1], shift: v[0]);
        h = _g.Add(_g.Multiply(new Attention(Int("heads"), Int("head_dim"), Bias: true).Write(_g, $"{Name}.attn1", normed), v[2]), h);
        normed = _g.Modulate(_g.LayerNorm($"{Name}.norm3", h, Single("norm3_eps"), affine: false), scale: v[4], shift: v[3]);
        return _g.Add(_g.Multiply(FeedForward.Write(_g, $"{Name}.ff", normed, ActivationKind.GeluTanh), v[5]), h);
    }

    private JsonElement Params => _golden.Json.GetProperty("params");

    private bool Has(string parameter) => Params.TryGetProperty(parameter, out _);

    private int Int(string parameter) => Params.GetProperty(parameter).GetInt32();

    private float Single(string parameter) => Params.GetProperty(parameter).GetSingle();

    private Node Input(string name) => _g.Input(name, new TensorShape(_golden.Shape($"in.{name}")), Dependence.Sample);
}

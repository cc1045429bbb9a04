using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Tests.Models;

/// <summary>A parameter is found under its name or an old one, in the shape the network expects; everything else is an error that says what was expected.</summary>
public sealed class ModelWeightsTests
{
    private static readonly Parameter Weight = new("m.to_q.weight", new(2, 3));

    [Test]
    public void A_parameter_is_read_under_its_name([Values("m.to_q.weight", "m.query.weight")] string stored)
    {
        Assert.That(Weights(stored, 2, 3).Float(Weight), Is.EqualTo(new float[] { 0, 1, 2, 3, 4, 5 }));
    }

    [Test]
    public void A_linear_layer_may_be_stored_as_a_1x1_convolution() => Assert.That(Weights(Weight.Name, 2, 3, 1, 1).Float(Weight), Has.Length.EqualTo(6));

    [Test]
    public void A_missing_parameter_names_file_and_tensor()
    {
        Assert.That(() => Weights("other", 2, 3).Float(Weight), Throws.TypeOf<ModelFormatException>().With.Message.Contains("weights.file").And.Message.Contains("m.to_q.weight").And.Message.Contains("[2, 3]"));
    }

    [TestCase(3, 2)]
    [TestCase(6)]
    [TestCase(2, 3, 3, 3)]
    [TestCase(1, 2, 3)]
    public void Another_shape_is_an_error_that_names_both(params int[] shape)
    {
        Assert.That(
            () => Weights(Weight.Name, shape).Float(Weight),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("[2, 3]").And.Message.Contains($"[{string.Join(", ", shape)}]"));
    }

    [Test]
    public void Executors_share_an_array_while_one_holds_it()
    {
        ModelWeights weights = Weights(Weight.Name, 2, 3);
        float[][] found = new float[16][];

        Parallel.For(0, found.Length, i => found[i] = weights.Float(Weight));

        Assert.That(found, Is.All.SameAs(found[0]));
    }

    [Test]
    public void Checking_a_graph_finds_a_missing_parameter_without_reading()
    {
        GraphBuilder g = new();
        g.Output("out", g.Linear("m.to_q", g.Input("x", new(1, 3), Dependence.Sample), 2));

        Assert.That(() => Weights(Weight.Name, 2, 3).Check(g.Build()), Throws.TypeOf<ModelFormatException>().With.Message.Contains("m.to_q.bias"));
    }

    private static ModelWeights Weights(string name, params int[] shape)
    {
        float[] values = [.. Enumerable.Range(0, shape.Aggregate(1, (a, b) => a * b)).Select(i => (float)i)];
        InMemoryTensors tensors = new("weights.file");
        return new ModelWeights(tensors.Add(name, [.. shape.Select(extent => (long)extent)], values), new OldNames());
    }

    private sealed class OldNames : INetwork
    {
        public string ClassName => "Old";

        public IReadOnlyList<string> InputNames => [];

        public int ClassLabels => 0;

        public IReadOnlyDictionary<string, TensorShape> NativeInputs(int batch) => throw new NotSupportedException();

        public Graph Build(IReadOnlyDictionary<string, TensorShape> inputs) => throw new NotSupportedException();

        public IEnumerable<string> LegacyNames(string name) => [name.Replace("to_q", "query")];
    }
}

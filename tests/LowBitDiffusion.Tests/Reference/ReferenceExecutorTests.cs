using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;

namespace LowBitDiffusion.Tests.Reference;

/// <summary>The walk over the nodes: what it reports, what it refuses.</summary>
public sealed class ReferenceExecutorTests
{
    private static readonly ModelWeights NoWeights = new(new InMemoryTensors());

    [Test]
    public void Every_node_is_reported_once_in_order_and_every_name_of_it()
    {
        GraphBuilder g = new();
        Node x = g.Input("x", new(1, 2), Dependence.Sample);
        Node y = g.Tap("outer", g.Tap("inner", g.Affine(x, 2)));
        g.Output("y", y);
        g.Output("z", g.Add(y, x));
        Graph graph = g.Build();
        List<Node> nodes = [];
        Dictionary<string, float[]> taps = [];

        IReadOnlyDictionary<string, float[]> outputs = ReferenceExecutor.Run(
            graph, NoWeights, Inputs("x", 1, -3), onTap: (name, _, value) => taps.Add(name, value), onNode: (node, _) => nodes.Add(node));

        Assert.Multiple(() =>
        {
            Assert.That(nodes, Is.EqualTo(graph.Nodes));
            Assert.That(taps.Keys, Is.EquivalentTo(new[] { "inner", "outer" }));
            Assert.That(taps["outer"], Is.EqualTo(new float[] { 2, -6 }));
            Assert.That(outputs["y"], Is.EqualTo(new float[] { 2, -6 }));
            Assert.That(outputs["z"], Is.EqualTo(new float[] { 3, -9 }));
        });
    }

    [Test]
    public void An_input_left_out_or_of_another_length_is_named()
    {
        GraphBuilder g = new();
        g.Output("y", g.Silu(g.Input("x", new(1, 2), Dependence.Sample)));
        Graph graph = g.Build();

        Assert.That(() => ReferenceExecutor.Run(graph, NoWeights, Inputs("other", 1)), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("x").And.Message.Contains("[1, 2]"));
        Assert.That(() => ReferenceExecutor.Run(graph, NoWeights, Inputs("x", 1)), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("2 elements").And.Message.Contains("found 1"));
    }

    [TestCase(3)]
    [TestCase(-1)]
    [TestCase(0.5f)]
    [TestCase(float.NaN)]
    public void A_label_that_is_no_row_of_its_table_is_refused(float label)
    {
        GraphBuilder g = new();
        g.Output("y", g.Embedding("table", g.Input("class_labels", new(1), Dependence.Condition), rows: 3, features: 2));
        ModelWeights weights = new(new InMemoryTensors().Add("table.weight", [3, 2], [0, 1, 2, 3, 4, 5]));

        Assert.That(() => ReferenceExecutor.Run(g.Build(), weights, Inputs("class_labels", label)), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("class_labels").And.Message.Contains("0 to 2"));
    }

    [Test]
    public void Cancellation_takes_effect_before_the_next_node()
    {
        GraphBuilder g = new();
        g.Output("y", g.Silu(g.Silu(g.Input("x", new(1, 1), Dependence.Sample))));
        using CancellationTokenSource cancellation = new();
        int nodes = 0;

        Assert.That(
            () => ReferenceExecutor.Run(g.Build(), NoWeights, Inputs("x", 1), onNode: (_, _) => { nodes++; cancellation.Cancel(); }, cancellationToken: cancellation.Token),
            Throws.InstanceOf<OperationCanceledException>());
        Assert.That(nodes, Is.EqualTo(1));
    }

    [TestCase(null, 30, TestName = "the largest id")]
    [TestCase(7, 20, TestName = "the first end token")]
    [TestCase(8, 10, TestName = "the first token where there is no end token")]
    public void A_text_is_pooled_at(int? endToken, float expected)
    {
        GraphBuilder g = new();
        Node tokens = g.Input("tokens", new(1, 4, 1), Dependence.Condition);
        g.Output("y", g.SelectToken(tokens, g.Input("ids", new(1, 4), Dependence.Condition), endToken));
        Dictionary<string, float[]> inputs = new() { ["tokens"] = [10, 20, 30, 40], ["ids"] = [1, 7, 9, 7] };

        Assert.That(ReferenceExecutor.Run(g.Build(), NoWeights, inputs)["y"], Is.EqualTo(new[] { expected }));
    }

    private static Dictionary<string, float[]> Inputs(string name, params float[] values) => new() { [name] = values };
}

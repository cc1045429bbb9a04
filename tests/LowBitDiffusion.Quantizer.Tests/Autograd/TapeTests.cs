using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Tests.Support;

namespace LowBitDiffusion.Quantizer.Tests.Autograd;

/// <summary>Whole networks: float results are the reference's; gradients do not depend on threads or checkpoints.</summary>
internal sealed class TapeTests
{
    private static readonly INetwork[] AllNetworks = [Networks.TinyUNet(), Networks.TinyDiT()];

    [TestCaseSource(nameof(AllNetworks))]
    public void A_float_network_computes_what_the_reference_computes(INetwork network)
    {
        using WorkerPool pool = new(2);
        Graph graph = network.Build(network.NativeInputs(3));
        ModelWeights weights = Networks.RandomWeights(graph, 1);
        Dictionary<string, float[]> inputs = Networks.RandomInputs(graph, 2);
        float[] found = new GradientExecutor(new TrainingModel(weights), pool).Predict(graph, inputs)["sample"];
        Close.RelativeToMax(found, ReferenceExecutor.Run(graph, weights, inputs)["sample"], 1e-5, "prediction");
    }

    [TestCaseSource(nameof(AllNetworks))]
    public void Gradients_are_the_same_bits_for_any_number_of_threads(INetwork network)
    {
        Dictionary<string, float[]> one = Gradients(network, 1, _ => []).Gradients;
        foreach (int threads in new[] { 2, 3, 5 })
        {
            Dictionary<string, float[]> several = Gradients(network, threads, _ => []).Gradients;
            foreach ((string name, float[] gradient) in one) Assert.That(several[name], Is.EqualTo(gradient), $"{name} with {threads} threads");
        }
    }

    [TestCaseSource(nameof(AllNetworks))]
    public void Checkpoints_save_memory_and_change_no_bit(INetwork network)
    {
        (Dictionary<string, float[]> plain, long all) = Gradients(network, 2, _ => []);
        (Dictionary<string, float[]> recomputed, long kept) = Gradients(network, 2, graph => [.. graph.Taps.Where(tap => tap.Key.Split('.').Length <= 2).Select(tap => tap.Value)]);
        Assert.That(kept, Is.LessThan(0.7 * all), "elements kept after the forward pass");
        foreach ((string name, float[] gradient) in plain) Assert.That(recomputed[name], Is.EqualTo(gradient), name);
    }

    [Test]
    public void A_part_of_a_graph_runs_from_values_in_between()
    {
        using WorkerPool pool = new(2);
        UNet2DModel network = Networks.TinyUNet();
        Graph graph = network.Build(network.NativeInputs(2));
        GradientExecutor executor = new(new TrainingModel(Networks.RandomWeights(graph, 1)), pool);
        Dictionary<Node, float[]> inputs = GradientExecutor.Rows(graph, Networks.RandomInputs(graph, 2));
        Node[] borders = [graph.Taps["conv_in"], graph.Taps["time_embedding"], graph.Taps["class_embedding"]];
        Node block = graph.Taps["down_blocks.0.resnets.0"];

        Tape whole = executor.Run(inputs, [.. borders, block]);
        Tape part = executor.Run(borders.ToDictionary(node => node, node => whole[node]), [block]);

        Assert.That(part[block], Is.EqualTo(whole[block]));
    }

    [Test]
    public void A_missing_or_misshapen_value_is_named()
    {
        using WorkerPool pool = new(1);
        UNet2DModel network = Networks.TinyUNet();
        Graph graph = network.Build(network.NativeInputs(2));
        GradientExecutor executor = new(new TrainingModel(Networks.RandomWeights(graph, 1)), pool);
        Dictionary<string, float[]> inputs = Networks.RandomInputs(graph, 2);
        inputs.Remove("class_labels");
        Assert.That(() => executor.Predict(graph, inputs), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("class_labels"), "missing");
        inputs["class_labels"] = [1];
        Assert.That(() => executor.Predict(graph, inputs), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("class_labels").And.Message.Contains("found 1"), "too short");
        inputs["class_labels"] = [1, 17];
        Assert.That(() => executor.Predict(graph, inputs), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("class_labels").And.Message.Contains("17"), "out of range");
    }

    [Test]
    public void Only_recorded_passes_go_back()
    {
        using WorkerPool pool = new(1);
        UNet2DModel network = Networks.TinyUNet();
        Graph graph = network.Build(network.NativeInputs(1));
        Node output = graph.Outputs["sample"];
        Tape tape = new GradientExecutor(new TrainingModel(Networks.RandomWeights(graph, 1)), pool).Run(
            GradientExecutor.Rows(graph, Networks.RandomInputs(graph, 2)), [output], new RunSettings { Record = false });
        Assert.That(() => tape.Backward(new Dictionary<Node, float[]> { [output] = tape[output] }), Throws.InvalidOperationException);
    }

    /// <summary>Gradients of everything a quantized network can learn, and of its input, for half the squared output.</summary>
    private static (Dictionary<string, float[]> Gradients, long Kept) Gradients(INetwork network, int threads, Func<Graph, Node[]> checkpoints)
    {
        using WorkerPool pool = new(threads);
        Graph graph = network.Build(network.NativeInputs(3));
        ModelWeights weights = Networks.RandomWeights(graph, 1);
        TrainingModel model = Networks.Quantize(graph, weights, 4, 6);
        foreach (Parameter parameter in graph.Parameters.Where(p => p.Shape.Rank == 1)) model.Learn(parameter);
        foreach (Variable variable in model.Layers.Values.SelectMany(layer => layer.Variables)) variable.Trainable = true;
        Dictionary<string, float[]> inputs = Networks.RandomInputs(graph, 2);
        Node sample = graph.Inputs["sample"], output = graph.Outputs["sample"];

        Tape tape = new GradientExecutor(model, pool).Run(
            GradientExecutor.Rows(graph, inputs), [output], new RunSettings { Timesteps = inputs["timestep"], Checkpoints = checkpoints(graph), Drop = new QuantizationDrop(0.5, 9) });
        long kept = tape.KeptElements;
        float[] dx = tape.Backward(new Dictionary<Node, float[]> { [output] = tape[output] }, [sample])[sample];
        Dictionary<string, float[]> gradients = model.Parameters.Values.Concat(model.Layers.Values.SelectMany(layer => layer.Variables)).ToDictionary(variable => variable.Name, variable => variable.Gradient);
        Assert.That(gradients.Values.Count(gradient => gradient.Any(g => g != 0)), Is.GreaterThan(0.8 * gradients.Count), "nearly everything has a gradient (zero points have none where nothing is clipped)");
        gradients.Add("sample", dx);
        return (gradients, kept);
    }
}

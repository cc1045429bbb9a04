using System.Text.Json;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Quantizer.Tests.Autograd;

/// <summary>Values and gradients of whole blocks are PyTorch's.</summary>
internal sealed class GoldenGradientTests
{
    public static IEnumerable<TestCaseData> Blocks()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(Repository.Golden("index.json")));
        foreach (JsonElement entry in index.RootElement.GetProperty("cases").EnumerateArray())
        {
            if (entry.GetProperty("kind").GetString() == "autograd") yield return new TestCaseData(new GoldenCase(entry.GetProperty("name").GetString()!)).SetArgDisplayNames(entry.GetProperty("name").GetString()!);
        }
    }

    [TestCaseSource(nameof(Blocks))]
    public void Every_parameter_and_input_has_its_gradient(GoldenCase golden)
    {
        GoldenBlock block = new(golden);
        using WorkerPool pool = new(2);
        TrainingModel model = new(block.Weights);
        foreach (Parameter parameter in block.Graph.Parameters) model.Learn(parameter);
        Node output = block.Graph.Outputs["y"];
        Node[] inputs = [.. block.Graph.Inputs.Values.Where(node => golden.TensorNames.Contains($"grad.in.{((InputOp)node.Op).Name}"))];

        Tape tape = new GradientExecutor(model, pool).Run(GradientExecutor.Rows(block.Graph, block.Inputs), [output]);
        IReadOnlyDictionary<Node, float[]> gradients = tape.Backward(new Dictionary<Node, float[]> { [output] = RowLayout.ToRows(golden["in.dout"], output.Shape) }, inputs);

        Close.Absolute(RowLayout.FromRows(tape[output], output.Shape), golden["out.y"], golden.Tolerance("max_abs"), "y");
        Assert.That(golden.TensorNames.Count(name => name.StartsWith("grad.")), Is.EqualTo(inputs.Length + block.Graph.Parameters.Count()), "every recorded gradient is compared");
        foreach (Node input in inputs)
        {
            string name = ((InputOp)input.Op).Name;
            Compare(golden, RowLayout.FromRows(gradients[input], input.Shape), $"grad.in.{name}");
        }

        foreach (Parameter parameter in block.Graph.Parameters) Compare(golden, model.Parameters[parameter.Name].Gradient, $"grad.w.{GoldenBlock.Stored(parameter)}");
    }

    private static void Compare(GoldenCase golden, float[] found, string name)
    {
        float[] expected = golden[name];
        double tolerance = golden.Tolerance("grad_abs") + golden.Tolerance("grad_rel_to_max") * expected.Max(Math.Abs);
        Close.Absolute(found, expected, tolerance, name);
    }
}

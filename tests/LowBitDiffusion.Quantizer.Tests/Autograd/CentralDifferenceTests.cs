using LowBitDiffusion.Execution.Reference;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Tests.Support;

namespace LowBitDiffusion.Quantizer.Tests.Autograd;

/// <summary>The gradients of every op, of inputs and parameters, against differences of the reference executor's results.</summary>
public sealed class CentralDifferenceTests
{
    private static readonly TensorShape Image = new(2, 4, 5, 6), Tokens = new(2, 5, 8), Vector = new(2, 8);

    public static IEnumerable<TestCaseData> Ops()
    {
        yield return Case("conv 3x3", (g, x) => g.Conv2d("m", x[0], 5, 3), Image);
        yield return Case("conv 3x3 of one channel", (g, x) => g.Conv2d("m", x[0], 3, 3), new TensorShape(2, 1, 5, 6));
        yield return Case("conv 3x3 of 19 to 37 channels", (g, x) => g.Conv2d("m", x[0], 37, 3), new TensorShape(1, 19, 3, 4));
        yield return Case("conv 3x3 stride 2", (g, x) => g.Conv2d("m", x[0], 5, 3, 2), Image);
        yield return Case("conv 3x3 stride 2, even size", (g, x) => g.Conv2d("m", x[0], 5, 3, 2), new TensorShape(1, 3, 6, 4));
        yield return Case("conv 3x3 stride 2, asymmetric padding", (g, x) => g.Conv2d("m", x[0], 5, 3, 2, new Padding(0, 0, 1, 1)), Image);
        yield return Case("conv of patches", (g, x) => g.Conv2d("m", x[0], 5, 2, 2, Padding.Same(0)), Image);
        yield return Case("conv 1x1 without bias", (g, x) => g.Conv2d("m", x[0], 7, 1, bias: false), Image);
        yield return Case("linear over vectors", (g, x) => g.Linear("m", x[0], 3), Vector);
        yield return Case("linear over tokens", (g, x) => g.Linear("m", x[0], 21, bias: false), Tokens);
        yield return Case("group norm", (g, x) => g.GroupNorm("m", x[0], 2, 1e-5f), Image);
        yield return Case("group norm of vectors", (g, x) => g.GroupNorm("m", x[0], 2, 1e-5f), Vector);
        yield return Case("layer norm", (g, x) => g.LayerNorm("m", x[0], 1e-5f), Tokens);
        yield return Case("layer norm without weights", (g, x) => g.LayerNorm("m", x[0], 1e-6f, affine: false), Tokens);
        foreach (ActivationKind kind in Enum.GetValues<ActivationKind>()) yield return Case($"{kind}", (g, x) => g.Activation(kind, x[0]), Tokens);
        yield return Case("add", (g, x) => g.Add(x[0], x[1]), Image, Image);
        yield return Case("add a value to itself", (g, x) => g.Add(x[0], x[0]), Image);
        yield return Case("add a vector to an image", (g, x) => g.Add(x[0], x[1]), Image, new TensorShape(2, 4));
        yield return Case("add one vector to all images", (g, x) => g.Add(x[0], x[1]), Image, new TensorShape(1, 4));
        yield return Case("add a table to tokens", (g, x) => g.Add(x[0], x[1]), Tokens, new TensorShape(1, 5, 8));
        yield return Case("add a table to images", (g, x) => g.Add(x[0], x[1]), Image, new TensorShape(1, 4, 5, 6));
        yield return Case("add a parameter", (g, x) => g.Add(x[0], g.Parameter("m.table", new TensorShape(1, 4, 5, 6))), Image);
        yield return Case("multiply", (g, x) => g.Multiply(x[0], x[1]), Tokens, Tokens);
        yield return Case("multiply a vector", (g, x) => g.Multiply(x[0], x[1]), Tokens, Vector);
        yield return Case("square", (g, x) => g.Multiply(x[0], x[0]), Tokens);
        yield return Case("modulate", (g, x) => g.Modulate(x[0], x[1], x[2]), Tokens, Vector, Vector);
        yield return Case("modulate images", (g, x) => g.Modulate(x[0], x[1], x[2]), Image, new TensorShape(2, 4), new TensorShape(2, 4));
        yield return Case("affine", (g, x) => g.Affine(x[0], -1.5f, 2), Image);
        yield return Case("divide by a scalar per image", (g, x) => g.Divide(x[0], g.Affine(x[1], 0.1f, 3)), Image, new TensorShape(2));
        yield return Case("concat images", (g, x) => g.Concat(x[0], x[1]), Image, new TensorShape(2, 3, 5, 6));
        yield return Case("concat vectors", (g, x) => g.Concat(x[0], x[1]), Vector, new TensorShape(2, 3));
        yield return Case("slice", (g, x) => g.Slice(x[0], 1, 2), Image);
        yield return Case("geglu", (g, x) => g.Geglu(x[0]), Tokens);
        yield return Case("upsample", (g, x) => g.Upsample(x[0], 10, 12), Image);
        yield return Case("upsample to an odd size", (g, x) => g.Upsample(x[0], 7, 11), Image);
        yield return Case("average pool", (g, x) => g.AveragePool(x[0]), Image);
        yield return Case("attention", (g, x) => g.Attention(x[0], x[1], x[2], 2), Tokens, Tokens, Tokens);
        yield return Case("cross-attention over more keys than a block", (g, x) => g.Attention(x[0], x[1], x[2], 1), new TensorShape(1, 3, 4), new TensorShape(1, 70, 4), new TensorShape(1, 70, 4));
        yield return Case("attention of more queries than a block", (g, x) => g.Attention(x[0], x[1], x[2], 1), new TensorShape(1, 67, 4), new TensorShape(1, 3, 4), new TensorShape(1, 3, 4));
        yield return Case("causal attention", (g, x) => g.Attention(x[0], x[1], x[2], 2, causal: true), Tokens, Tokens, Tokens);
        yield return Case("masked attention", (g, x) => g.Attention(x[0], x[1], x[2], 2, mask: g.Constant("mask", new TensorShape(2, 5), [0, -10000, 0, 0.5f, 0, 0, 0, -1, 0, -10000])), Tokens, Tokens, Tokens);
        yield return Case("to tokens", (g, x) => g.Linear("m", g.ToTokens(x[0]), 3), Image);
        yield return Case("to image", (g, x) => g.Conv2d("m", g.ToImage(x[0], 1, 5), 3, 1), Tokens);
        yield return Case("reshape", (g, x) => g.Linear("m", g.Reshape(x[0], new TensorShape(2, 40)), 3), Tokens);
        yield return Case("unpatchify", (g, x) => g.Unpatchify(x[0], 2, 3, 2), new TensorShape(2, 6, 8));
        yield return Case("clamp", (g, x) => g.Clamp(g.Affine(x[0], 1, 0.03f), -50, 50), Tokens);
        yield return Case("embedding", (g, x) => g.Linear("n", g.Embedding("m", g.Constant("ids", new TensorShape(4), [1, 0, 1, 3]), 4, 6), 2));
        yield return Case("select token", (g, x) => g.SelectToken(x[0], g.Constant("ids", new TensorShape(2, 5), [1, 3, 2, 0, 0, 4, 1, 1, 5, 0]), null), Tokens);
        yield return Case("timestep embedding", (g, x) => g.Linear("m", g.TimestepEmbedding(g.Constant("t", new TensorShape(2), [3, 700]), 8, true, 0), 3));
    }

    [TestCaseSource(nameof(Ops))]
    public void Gradients_are_the_slopes_of_the_reference(string name, Graph graph)
    {
        using WorkerPool pool = new(2);
        Random random = new(3);
        Dictionary<string, float[]> inputs = graph.Inputs.ToDictionary(input => input.Key, input => Networks.Normal(random, input.Value.Shape.Elements));
        ModelWeights weights = Networks.RandomWeights(graph, 5);
        Dictionary<string, float[]> parameters = graph.Parameters.ToDictionary(p => p.Name, p => weights.Float(p).ToArray());
        Node output = graph.Outputs["out"];
        float[] upstream = Networks.Normal(random, output.Shape.Elements);

        TrainingModel model = new(weights);
        foreach (Parameter parameter in graph.Parameters) model.Learn(parameter);
        Tape tape = new GradientExecutor(model, pool).Run(GradientExecutor.Rows(graph, inputs), [output]);
        IReadOnlyDictionary<Node, float[]> gradients = tape.Backward(new Dictionary<Node, float[]> { [output] = RowLayout.ToRows(upstream, output.Shape) }, [.. graph.Inputs.Values]);

        double Loss()
        {
            InMemoryTensors tensors = new();
            foreach (Parameter parameter in graph.Parameters) tensors.Add(parameter.Name, [.. parameter.Shape.Select(extent => (long)extent)], parameters[parameter.Name]);
            float[] y = ReferenceExecutor.Run(graph, new ModelWeights(tensors), inputs)["out"];
            return y.Zip(upstream, (a, b) => (double)a * b).Sum();
        }

        Close.RelativeToMax(RowLayout.FromRows(tape[output], output.Shape), ReferenceExecutor.Run(graph, weights, inputs)["out"], 1e-5, $"{name}: value");
        foreach ((string input, Node node) in graph.Inputs) Compare($"{name}: {input}", RowLayout.FromRows(gradients[node], node.Shape), inputs[input], Loss);
        foreach ((string parameter, float[] values) in parameters) Compare($"{name}: {parameter}", model.Parameters[parameter].Gradient, values, Loss);
    }

    /// <summary>Five-point differences with a wide step: their own error is of fourth order, and the loss carries single-precision rounding.</summary>
    private static void Compare(string what, float[] found, float[] values, Func<double> loss)
    {
        const float h = 1f / 64;
        // Every element of small arrays, a sample of large ones.
        int step = Math.Max(1, values.Length / 60);
        List<float> expected = [], actual = [];
        for (int i = 0; i < values.Length; i += step)
        {
            float value = values[i];
            double At(int offset)
            {
                values[i] = value + offset * h;
                return loss();
            }

            expected.Add((float)((8 * (At(1) - At(-1)) - (At(2) - At(-2))) / (12 * h)));
            actual.Add(found[i]);
            values[i] = value;
        }

        double scale = Math.Max(1, found.Max(Math.Abs));
        Close.Absolute(actual.ToArray(), expected.ToArray(), 4e-4 * scale, what);
    }

    private static TestCaseData Case(string name, Func<GraphBuilder, Node[], Node> write, params TensorShape[] shapes)
    {
        GraphBuilder g = new();
        Node[] inputs = [.. shapes.Select((shape, i) => g.Input($"x{i}", shape, Dependence.Sample))];
        g.Output("out", write(g, inputs));
        return new TestCaseData(name, g.Build()).SetArgDisplayNames(name);
    }
}

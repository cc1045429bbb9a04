using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;

namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>
/// A network's parameters while they are learned: the float ones of a model, some of them replaced by variables, some layers by simulated quantization. Not thread-safe.
/// </summary>
/// <param name="weights">The float model.</param>
public sealed class TrainingModel(ModelWeights weights)
{
    private readonly Dictionary<string, float[]> _fixed = [];

    /// <summary>Learned float parameters by full name (<c>conv_in.bias</c>).</summary>
    public IDictionary<string, Variable> Parameters { get; } = new Dictionary<string, Variable>();

    /// <summary>Layers whose quantization is simulated, by module.</summary>
    public IDictionary<string, FakeQuantizedLayer> Layers { get; } = new Dictionary<string, FakeQuantizedLayer>();

    /// <summary>Makes a float parameter a variable, which starts at the model's values.</summary>
    public Variable Learn(Parameter parameter)
    {
        if (!Parameters.TryGetValue(parameter.Name, out Variable? variable)) Parameters.Add(parameter.Name, variable = new Variable(parameter.Name, [.. weights.Float(parameter)]));
        return variable;
    }

    /// <summary>A float parameter's present values; must not be written to.</summary>
    /// <exception cref="ModelFormatException">The tensor is missing or has another shape.</exception>
    public float[] Float(Parameter parameter)
    {
        if (Parameters.TryGetValue(parameter.Name, out Variable? variable)) return variable.Value;
        if (!_fixed.TryGetValue(parameter.Name, out float[]? values)) _fixed.Add(parameter.Name, values = weights.Float(parameter));
        return values;
    }

    /// <summary>The layers in integers, as the runtime runs them: with today's codes, steps and biases.</summary>
    /// <param name="graph">The network, which knows the layers' biases.</param>
    /// <exception cref="InvalidOperationException">A layer's input is not quantized.</exception>
    public IReadOnlyDictionary<string, QuantizedModule> Export(Graph graph)
    {
        Dictionary<string, QuantizedModule> modules = [];
        foreach (MatrixOp op in graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module))
        {
            if (Layers.TryGetValue(op.Module, out FakeQuantizedLayer? layer))
                modules.Add(op.Module, layer.Export(op, op.Parameters.ElementAtOrDefault(1) is { } bias ? [.. Float(bias)] : null));
        }

        return modules;
    }

    /// <summary>The variable behind a parameter if its gradient is wanted.</summary>
    internal Variable? Trainable(Parameter? parameter) =>
        parameter is not null && Parameters.TryGetValue(parameter.Name, out Variable? variable) && variable.Trainable ? variable : null;

    /// <summary>Whether an op has anything to learn.</summary>
    internal bool Learns(Op op) => op is ModuleOp module
        && (module.Parameters.Any(parameter => Trainable(parameter) is not null)
            || (op is MatrixOp && Layers.TryGetValue(module.Module, out FakeQuantizedLayer? layer) && layer.Variables.Any(variable => variable.Trainable)));
}

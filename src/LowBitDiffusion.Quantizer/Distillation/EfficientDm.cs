using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.PostTraining;

namespace LowBitDiffusion.Quantizer.Distillation;

/// <summary>EfficientDM (He et al. 2024): quantization-aware low-rank adapters, scale-aware learning rates, activation scales learned for every timestep (TALSQ).</summary>
public static class EfficientDm
{
    /// <summary>
    /// The network as it is learned: layers of the standard precision get an adapter, which is merged into the weight before that is quantized; those that a rule names (first and last layer, time projections:
    /// 8 bits) keep their codes. Layers that share a table share the learned one, so that they still read one quantized value when they run.
    /// </summary>
    /// <param name="weights">The float model.</param>
    /// <param name="modules">Its layers quantized after training.</param>
    /// <param name="rules">Which have the standard precision.</param>
    /// <param name="rank">Inner dimension of the adapters; 0 for none.</param>
    /// <param name="seed">Seed of their factors A.</param>
    public static TrainingModel Student(ModelWeights weights, IReadOnlyDictionary<string, QuantizedModule> modules, PrecisionRules rules, int rank = 32, ulong seed = 0)
    {
        TrainingModel student = new(weights);
        Dictionary<(TimestepTable, int), FakeQuantizedInput> inputs = [];
        foreach ((string name, QuantizedModule module) in modules)
        {
            FakeQuantizedLayer layer = FakeQuantizedLayer.Frozen(module);
            if (rules.IsStandard(name))
            {
                layer = FakeQuantizedLayer.Learned(module, weights.Float(new Parameter($"{name}.weight", module.WeightShape)), rank, seed);
                if (!inputs.TryAdd((module.Input, module.SplitChannel), layer.Input!)) layer = new FakeQuantizedLayer(layer.Weight, inputs[(module.Input, module.SplitChannel)]);
            }

            student.Layers.Add(name, layer);
        }

        return student;
    }
}

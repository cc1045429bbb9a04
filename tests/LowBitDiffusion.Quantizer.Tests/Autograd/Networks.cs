using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Models;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.Autograd;
using LowBitDiffusion.Quantizer.Autograd.FakeQuantization;
using LowBitDiffusion.Quantizer.Quantizers;

namespace LowBitDiffusion.Quantizer.Tests.Autograd;

/// <summary>Small networks with random parameters.</summary>
internal static class Networks
{
    /// <summary>The timesteps that quantizers of <see cref="Quantize"/> have entries for.</summary>
    public static readonly float[] Timesteps = [0, 250, 500, 900];

    /// <summary>A tiny UNet2DModel: two levels, attention, labels.</summary>
    public static UNet2DModel TinyUNet() => new(JsonConfig.Parse("test",
        """
        {"_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": [8, 16],
         "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "attention_head_dim": 8, "norm_num_groups": 4, "num_class_embeds": 3}
        """));

    /// <summary>A tiny DiT: two blocks of width 16.</summary>
    public static DiTTransformer2DModel TinyDiT() => new(JsonConfig.Parse("test",
        """
        {"_class_name": "DiTTransformer2DModel", "sample_size": 4, "in_channels": 1, "out_channels": 1, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8, "patch_size": 2,
         "num_embeds_ada_norm": 3, "activation_fn": "gelu-approximate", "attention_bias": true, "norm_type": "ada_norm_zero", "norm_elementwise_affine": false}
        """));

    public static ModelWeights RandomWeights(Graph graph, int seed)
    {
        Random random = new(seed);
        InMemoryTensors tensors = new("random");
        foreach (Parameter parameter in graph.Parameters)
        {
            bool norm = parameter.Shape.Rank == 1 && parameter.Name.EndsWith("weight");
            double scale = parameter.Shape.Rank == 1 ? 0.2 : 1 / Math.Sqrt((double)parameter.Shape.Elements / parameter.Shape[0]);
            tensors.Add(parameter.Name, [.. parameter.Shape.Select(extent => (long)extent)], Normal(random, parameter.Shape.Elements, scale, norm ? 1 : 0));
        }

        return new ModelWeights(tensors);
    }

    /// <summary>Row-major inputs for every input of a graph; each image has a timestep of its own unless one is given.</summary>
    public static Dictionary<string, float[]> RandomInputs(Graph graph, int seed, float? timestep = null)
    {
        Random random = new(seed);
        return graph.Inputs.ToDictionary(input => input.Key, input => input.Key switch
        {
            "timestep" => [.. Enumerable.Range(0, input.Value.Shape[0]).Select(i => timestep ?? Timesteps[i % Timesteps.Length])],
            "class_labels" => [.. Enumerable.Range(0, input.Value.Shape[0]).Select(i => (float)(i % 3))],
            "input_ids" => [.. Enumerable.Range(0, (int)input.Value.Shape.Elements).Select(_ => (float)random.Next(64))],
            _ => Normal(random, input.Value.Shape.Elements),
        });
    }

    public static float[] Normal(Random random, long count, double scale = 1, double offset = 0) =>
        [.. Enumerable.Range(0, (int)count).Select(_ => (float)(offset + scale * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];

    /// <summary>A quantizer of a layer's input with different steps at each timestep.</summary>
    public static FakeQuantizedInput Input(MatrixOp op, int bits, Random random, int split = 0, bool channelScales = false)
    {
        int segments = split > 0 ? 2 : 1, entries = Timesteps.Length * segments;
        return new FakeQuantizedInput(
            op.Module,
            new TimestepTable(
                Timesteps,
                [.. Enumerable.Range(0, entries).Select(_ => (float)((4 + 3 * random.NextDouble()) / ((1 << bits) - 1)))],
                [.. Enumerable.Range(0, entries).Select(_ => (1 << bits) * 3 / 8 + random.Next((1 << bits) / 4))],
                segments, bits),
            split,
            channelScales ? [.. Enumerable.Range(0, op.WeightShape[1]).Select(_ => (float)(0.5 + random.NextDouble()))] : null);
    }

    /// <summary>Gives every layer of a graph a rounded weight and a quantized input.</summary>
    public static TrainingModel Quantize(Graph graph, ModelWeights weights, int weightBits, int inputBits)
    {
        Random random = new(7);
        TrainingModel model = new(weights);
        WeightQuantizerOptions options = WeightQuantizerOptions.ForBits(weightBits);
        foreach (MatrixOp op in graph.MatrixNodes.Select(node => (MatrixOp)node.Op).DistinctBy(op => op.Module))
        {
            float[] weight = weights.Float(op.Parameters.First());
            RoundedWeight rounded = new(op.Module, weight, op.WeightShape, WeightQuantizer.Quantize(weight, op.WeightShape, options), options) { Hard = true };
            model.Layers.Add(op.Module, new FakeQuantizedLayer(rounded, Input(op, inputBits, random)));
        }

        return model;
    }
}

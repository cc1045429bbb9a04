using LowBitDiffusion.Execution;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Models.RandomWeights;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Models;

/// <summary>Random weights are the same every time, have the variance they should, and networks made of them neither explode nor die out.</summary>
[TestFixture]
public sealed class RandomWeightsTests
{
    [Test]
    public void A_tensor_depends_on_seed_and_name_alone()
    {
        RandomTensors tensors = new(Network("sd15").Graph, 3), again = new(Network("sd15").Graph, 3), other = new(Network("sd15").Graph, 4);
        float[] last = again.ReadSingles("conv_out.weight");
        Assert.That(tensors.ReadSingles("conv_in.weight"), Is.EqualTo(again.ReadSingles("conv_in.weight")));
        Assert.That(tensors.ReadSingles("conv_out.weight"), Is.EqualTo(last), "in another order");
        Assert.That(other.ReadSingles("conv_out.weight"), Is.Not.EqualTo(last), "another seed");
        Assert.That(tensors.ReadSingles("conv_in.bias"), Is.Not.EqualTo(tensors.ReadSingles("down_blocks.0.resnets.0.conv1.bias")[..4]), "another name");
        Assert.That(tensors.ReadBytes("conv_out.weight"), Is.EqualTo(TensorConversion.FromSingles(DType.F32, last)));
    }

    [TestCase(0, 12)]
    [TestCase(8, 5)]
    [TestCase(7, 14)]
    [TestCase(1, 3)]
    public void A_range_of_bytes_is_that_of_the_whole_tensor(int offset, int length)
    {
        RandomTensors tensors = new(Network("sd15").Graph, 3);
        byte[] part = new byte[length];
        tensors.ReadRange("conv_in.weight", offset, part);
        Assert.That(part, Is.EqualTo(tensors.ReadBytes("conv_in.weight")[offset..(offset + length)]));
        Assert.That(() => tensors.ReadRange("conv_in.bias", 0, new byte[1 << 20]), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    // Computed from the published algorithm elsewhere: measurements of different versions are of the same network.
    [Test]
    public void Values_do_not_change_between_versions()
        => Assert.That(new RandomTensors(Network("sd15").Graph, 1).ReadSingles("conv_in.weight")[..3], Is.EqualTo(s_pinned).Within(1e-7f));

    [TestCase("time_embedding.linear_2.weight", 1280, 1)]
    [TestCase("down_blocks.1.resnets.0.conv1.weight", 320 * 9, 1)]
    [TestCase("down_blocks.1.resnets.0.conv2.weight", 640 * 9, 0.3)]
    [TestCase("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 768, 1)]
    [TestCase("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight", 1280, 0.3)]
    [TestCase("mid_block.attentions.0.transformer_blocks.0.ff.net.2.weight", 5120, 0.3)]
    [TestCase("mid_block.attentions.0.proj_out.weight", 1280, 0.3)]
    public void Weights_have_the_variance_that_keeps_signals_in_size(string name, int inputs, double factor)
    {
        using RandomTensors tensors = new(FullSize("sd15"), 7);
        float[] values = tensors.ReadSingles(name);
        double mean = values.Average(), deviation = Math.Sqrt(values.Average(value => value * (double)value));
        Assert.That(deviation, Is.EqualTo(factor / Math.Sqrt(inputs)).Within(1).Percent);
        Assert.That(mean, Is.EqualTo(0).Within(0.01 * deviation));
        Assert.That(values.Max(), Is.GreaterThan(3 * deviation).And.LessThan(3.5 * deviation));
    }

    [Test]
    public void Norms_change_nothing()
    {
        RandomTensors tensors = new(Network("sd15").Graph, 3);
        Assert.That(tensors.ReadSingles("conv_norm_out.weight"), Has.All.EqualTo(1f));
        Assert.That(tensors.ReadSingles("conv_norm_out.bias"), Has.All.EqualTo(0f));
    }

    [TestCase(8, 8)]
    [TestCase(4, 8)]
    [TestCase(2, 4)]
    public void Codes_have_their_range_and_the_weights_variance(int weightBits, int activationBits)
    {
        IReadOnlyDictionary<string, QuantizedModule> modules = RandomQuantized.Modules(FullSize("sd15"), new ModulePrecision(weightBits, 0, true, activationBits), 7);
        QuantizedModule module = modules["mid_block.resnets.0.conv1"];
        sbyte[] codes = module.Codes;
        int limit = (1 << (weightBits - 1)) - 1;
        Assert.That((codes.Min(), codes.Max()), Is.EqualTo(((sbyte)-limit, (sbyte)limit)));
        Assert.That(Math.Sqrt(codes.Average(code => (double)code * code)) * module.WeightScales[0], Is.EqualTo(1 / Math.Sqrt(1280 * 9)).Within(1).Percent);
        Assert.That(module.Codes, Is.EqualTo(codes), "made anew and the same");
        Assert.That((module.Input.Bits, module.Input.IsStatic), Is.EqualTo((activationBits, true)));
    }

    [Test]
    public void Modules_get_the_precisions_that_a_quantizer_gives()
    {
        IReadOnlyDictionary<string, QuantizedModule> modules = RandomQuantized.Modules(FullSize("sd15"), new ModulePrecision(4, 0, true, 8), 7);
        Assert.That(modules.Keys, Has.None.StartsWith("time_embedding."), "the embedding of the timestep is float");
        Assert.That(new[] { "conv_in", "conv_out", "down_blocks.0.resnets.0.time_emb_proj" }.Select(name => modules[name].WeightBits), Is.All.EqualTo(8));
        Assert.That(new[] { "mid_block.resnets.0.conv1", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k" }.Select(name => modules[name].WeightBits), Is.All.EqualTo(4));
    }

    [Test]
    public void Groups_of_weights_have_scales()
    {
        QuantizedModule module = RandomQuantized.Modules(FullSize("sd15"), new ModulePrecision(4, 64 * 9, true, 8), 7)["mid_block.resnets.0.conv1"];
        Assert.That((module.GroupSize, module.WeightScales.Length), Is.EqualTo((64 * 9, 1280 * 20)));
    }

    [Test]
    public void Signals_keep_their_size(
        [Values("unet2dcond_sd15", "unet2dcond_sdxl", "unet2d_class", "dit_adaln_zero")] string golden, [Values("f32", "w8a8", "w4a8")] string precision)
    {
        (INetwork network, Graph graph) = Network(golden);
        ModelWeights weights = RandomModel.Weights(network, network.NativeInputs(2), precision, 11);
        Assert.That(weights.QuantizedModules.Count, precision == "f32" ? Is.Zero : Is.GreaterThan(5));
        using WorkerPool pool = new(1);
        using PreparedModel model = new(network, weights);
        using PlannedNetwork plan = model.Compile(network.NativeInputs(2), pool);
        Random random = new(5);
        float[] sample = plan.Run(graph.Inputs.ToDictionary(input => input.Key, input => Values(input.Key, input.Value.Shape)))["sample"];
        double deviation = Math.Sqrt(sample.Average(value => value * (double)value));
        Assert.That(sample, Has.All.Matches<float>(float.IsFinite));
        Assert.That(deviation, Is.InRange(0.2, 5));

        float[] Values(string name, TensorShape shape) => [.. Enumerable.Range(0, (int)shape.Elements).Select(_ => name switch
        {
            "timestep" => 500,
            "class_labels" => 1,
            "time_ids" => 512,
            _ => (float)Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * MathF.Cos(2 * MathF.PI * random.NextSingle()),
        })];
    }

    [TestCase("int4")]
    [TestCase("w1a8")]
    [TestCase("w4a16")]
    public void Other_precisions_are_refused(string precision)
    {
        INetwork network = Network("sd15").Network;
        Assert.That(() => RandomModel.Weights(network, network.NativeInputs(1), precision, 0), Throws.TypeOf<InvalidRequestException>().With.Message.Contains(precision));
    }

    private static readonly float[] s_pinned = [-0.059685487f, -0.234306281f, -0.133475249f];

    private static (INetwork Network, Graph Graph) Network(string name)
    {
        string folder = name.StartsWith("sd", StringComparison.Ordinal) ? $"unet2dcond_{name}" : name;
        INetwork network = NetworkRegistry.Create(JsonConfig.Open(Repository.Golden(folder, "config.json")));
        return (network, network.Build(network.NativeInputs(2)));
    }

    private static Graph FullSize(string name)
    {
        INetwork network = Architectures.Create(name);
        return network.Build(network.NativeInputs(1));
    }
}

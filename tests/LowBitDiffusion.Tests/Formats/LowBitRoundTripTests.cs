using System.Text.Json;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>A quantized network written and read again is the same, whatever its widths, groups and splits.</summary>
[TestFixture]
public sealed class LowBitRoundTripTests
{
    private static readonly QuantizationConfig s_config = new()
    {
        Method = "mse",
        Default = new ModulePrecision(4, 0, true, 8),
        Timesteps = LowBitSample.Timesteps,
        ModulesInFloat = ["conv_out"],
        Attention = AttentionPrecision.Int8,
        Rules = [new PrecisionRule("conv_*", "float"), new PrecisionRule("*", "w4a8")],
        Calibration = JsonDocument.Parse("""{"sampler": "ddim", "seed": 7}""").RootElement.Clone(),
    };

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    private static IEnumerable<QuantizedModule> Modules()
    {
        for (int bits = 2; bits <= 8; bits++)
        {
            yield return LowBitSample.Module($"conv{bits}", bits);
            yield return LowBitSample.Module($"linear{bits}", bits, shape: [5, 7], bias: false);
            yield return LowBitSample.Module($"act{bits}", 8, activationBits: bits);
            if (bits < 8) yield return LowBitSample.Module($"asymmetric{bits}", bits, symmetric: false);
            if (bits < 8) yield return LowBitSample.Module($"asymmetric_groups{bits}", bits, symmetric: false, group: 18);
        }

        yield return LowBitSample.Module("groups", 4, group: 9);
        yield return LowBitSample.Module("one_group", 4, group: 36);
        yield return LowBitSample.Module("split", 4, split: 1);
        yield return LowBitSample.Module("split_scales", 4, split: 3, splitScales: true);
        yield return LowBitSample.Module("asymmetric_split_scales", 3, symmetric: false, split: 3, splitScales: true);
        yield return LowBitSample.Module("split_groups", 4, group: 18, split: 3);
        yield return LowBitSample.Module("split_static", 8, split: 2, isStatic: true);
        yield return LowBitSample.Module("static", 4, isStatic: true);
        yield return LowBitSample.Module("dilated", 4, channels: true, bias: false);
    }

    [Test]
    public void A_folder_gives_back_every_module_and_every_float_tensor()
    {
        QuantizedModule[] modules = [.. Modules()];
        using InMemoryTensors floats = new();
        floats.Add("norm.weight", [3], [1, 0.5f, -2]).AddBytes(new TensorInfo("ids", DType.I64, [1]), new byte[8]);
        Watcher<double> progress = new();
        LowBitFolder.Write(_folder.Path, JsonConfig.Parse("config.json", """{"_class_name": "X", "sample_size": 8}"""), s_config, modules, floats, DType.F16, progress);

        using ComponentFolder component = ComponentFolder.Open(_folder.Path);
        Assert.That(component.ClassName, Is.EqualTo("X"));
        Assert.That(component.Config.GetInt("sample_size"), Is.EqualTo(8));
        Assert.That(component.Weights.Tensors["norm.weight"].DType, Is.EqualTo(DType.F16));
        Assert.That(component.Weights.ReadSingles("norm.weight"), Is.EqualTo(new[] { 1, 0.5f, -2 }));
        Assert.That(component.Weights.Tensors["ids"].DType, Is.EqualTo(DType.I64));
        Assert.That(progress.Reports, Is.Ordered.And.Not.Empty);
        Assert.That(progress.Reports[^1], Is.EqualTo(1));
        foreach (QuantizedModule module in modules)
        {
            Assert.That(LowBitCodec.IsQuantized(component.Weights, module.Name), Is.True, module.Name);
            AssertSame(LowBitCodec.Read(component.Weights, component.Quantization!, module.Name, module.WeightShape, module.Bias is not null), module);
        }
    }

    [Test]
    public void The_configuration_comes_back_as_it_was()
    {
        LowBitFolder.Write(_folder.Path, JsonConfig.Parse("config.json", "{}"), s_config, [LowBitSample.Module("a", 4), LowBitSample.Module("b", 3, symmetric: false, group: 9, split: 2)], new InMemoryTensors());
        using ComponentFolder component = ComponentFolder.Open(_folder.Path);
        QuantizationConfig found = component.Quantization!;
        Assert.That(found.Method, Is.EqualTo("mse"));
        Assert.That(found.Default, Is.EqualTo(s_config.Default));
        Assert.That(found.Timesteps, Is.EqualTo(s_config.Timesteps));
        Assert.That(found.Modules, Is.EqualTo(new Dictionary<string, ModulePrecision> { ["b"] = new(3, 9, false, 8, 2) }), "only what differs from the default");
        Assert.That(found.ModulesInFloat, Is.EqualTo(s_config.ModulesInFloat));
        Assert.That(found.Attention, Is.EqualTo(s_config.Attention));
        Assert.That(found.Rules, Is.EqualTo(s_config.Rules));
        Assert.That(found.Calibration!.Value.GetProperty("seed").GetInt32(), Is.EqualTo(7));
        Assert.That(() => component.Config.RejectUnknown(new HashSet<string>()), Throws.Nothing, "quantization_config counts as read");
    }

    [Test]
    public void The_same_network_is_the_same_bytes()
    {
        using TemporaryFolder other = new();
        foreach (TemporaryFolder folder in new[] { _folder, other })
            LowBitFolder.Write(folder.Path, JsonConfig.Parse("config.json", "{}"), s_config, [.. Modules()], new InMemoryTensors());
        foreach (string file in new[] { "config.json", ComponentFolder.WeightFile })
            Assert.That(File.ReadAllBytes(other[file]), Is.EqualTo(File.ReadAllBytes(_folder[file])), file);
    }

    [Test]
    public void Stored_bytes_are_those_of_the_layout()
    {
        QuantizedModule module = new()
        {
            Name = "p",
            WeightShape = new TensorShape(2, 3),
            WeightBits = 4,
            Codes = [-8, 0, 7, 1, -1, 2],
            WeightScales = [1, 2],
            Input = new TimestepTable([0], [0.5f], [3], 1, 8),
        };
        Dictionary<string, (TensorInfo Info, byte[] Bytes)> tensors = LowBitCodec.Write(module).ToDictionary(tensor => tensor.Info.Name);
        Assert.That(tensors.Keys, Is.EquivalentTo(new[] { "p.weight_packed", "p.weight_scale", "p.input_scale", "p.input_zero_point" }));
        Assert.That(tensors["p.weight_packed"].Info.Shape, Is.EqualTo(new long[] { 2, 2 }));
        Assert.That(tensors["p.weight_packed"].Bytes, Is.EqualTo(new byte[] { 0x80, 0x0f, 0x79, 0x0a }), "symmetric codes are stored 8 higher");
        Assert.That(tensors["p.input_zero_point"].Bytes, Is.EqualTo(new byte[] { 3 }));
    }

    [Test]
    public void A_cancelled_write_leaves_nothing()
    {
        using CancellationTokenSource cancellation = new();
        cancellation.Cancel();
        Assert.That(() => LowBitFolder.Write(_folder.Path, JsonConfig.Parse("c", "{}"), s_config, [.. Modules()], new InMemoryTensors(), cancellationToken: cancellation.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty);
    }

    [Test]
    public void A_float_too_large_for_the_stored_type_is_refused()
    {
        InMemoryTensors floats = new InMemoryTensors().Add("x", [1], [70000]);
        Assert.That(() => LowBitFolder.Write(_folder.Path, JsonConfig.Parse("c", "{}"), s_config, [], floats, DType.F16), Throws.TypeOf<InvalidRequestException>().With.Message.Contains("'x' holds 70000"));
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path), Is.Empty);
    }

    [Test]
    public void Modules_that_do_not_fit_their_description_are_not_written()
    {
        QuantizedModule valid = LowBitSample.Module("p", 4);
        QuantizedModule tooWide = new() { Name = "p", WeightShape = valid.WeightShape, WeightBits = 3, Codes = valid.Codes, WeightScales = valid.WeightScales, Input = valid.Input };
        QuantizedModule tooFew = new() { Name = "p", WeightShape = valid.WeightShape, WeightBits = 4, Codes = valid.Codes, WeightScales = [1, 2], Input = valid.Input };
        Assert.That(() => LowBitCodec.Write(tooWide).ToList(), Throws.ArgumentException.With.Message.Contains("does not fit in 3 bits"));
        Assert.That(() => LowBitCodec.Write(tooFew).ToList(), Throws.ArgumentException.With.Message.Contains("scales"));
        Assert.That(() => LowBitFolder.Write(_folder.Path, JsonConfig.Parse("c", "{}"), s_config with { Timesteps = [1, 2] }, [valid], new InMemoryTensors()), Throws.ArgumentException.With.Message.Contains("timesteps"));
    }

    private static void AssertSame(QuantizedModule found, QuantizedModule expected)
    {
        Assert.Multiple(() =>
        {
            Assert.That(found.Name, Is.EqualTo(expected.Name));
            Assert.That(found.WeightShape, Is.EqualTo(expected.WeightShape));
            Assert.That(found.WeightBits, Is.EqualTo(expected.WeightBits), expected.Name);
            Assert.That(found.Codes, Is.EqualTo(expected.Codes), expected.Name);
            Assert.That(found.WeightScales, Is.EqualTo(expected.WeightScales), expected.Name);
            Assert.That(found.WeightZeroPoints, Is.EqualTo(expected.WeightZeroPoints), expected.Name);
            Assert.That(found.GroupSize, Is.EqualTo(expected.GroupSize), expected.Name);
            Assert.That(found.SplitChannel, Is.EqualTo(expected.SplitChannel), expected.Name);
            Assert.That(found.Input.Timesteps.ToArray(), Is.EqualTo(expected.Input.Timesteps.ToArray()), expected.Name);
            Assert.That(found.Input.Scales.ToArray(), Is.EqualTo(expected.Input.Scales.ToArray()), expected.Name);
            Assert.That(found.Input.ZeroPoints.ToArray(), Is.EqualTo(expected.Input.ZeroPoints.ToArray()), expected.Name);
            Assert.That(found.Input.Segments, Is.EqualTo(expected.Input.Segments), expected.Name);
            Assert.That(found.Input.Bits, Is.EqualTo(expected.Input.Bits), expected.Name);
            Assert.That(found.InputChannelScales, Is.EqualTo(expected.InputChannelScales), expected.Name);
            Assert.That(found.Bias, Is.EqualTo(expected.Bias), expected.Name);
        });
    }
}

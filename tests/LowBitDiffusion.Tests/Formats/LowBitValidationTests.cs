using LowBitDiffusion.Formats;
using LowBitDiffusion.Graphs;
using LowBitDiffusion.Quantization;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>A low-bit file that is wrong anywhere is refused with the tensor or key, what was expected and what was found.</summary>
[TestFixture]
public sealed class LowBitValidationTests
{
    private static readonly TensorShape s_shape = new(3, 4, 3, 3);

    private static readonly QuantizationConfig s_config = new() { Method = "mse", Default = new ModulePrecision(4, 0, true, 8), Timesteps = LowBitSample.Timesteps };

    private static readonly QuantizedModule s_symmetric = LowBitSample.Module("p", 4, channels: true);

    private static readonly QuantizedModule s_asymmetric = LowBitSample.Module("p", 4, symmetric: false, activationBits: 6);

    private static readonly QuantizedModule s_groups = LowBitSample.Module("p", 4, group: 18);

    private static readonly QuantizedModule s_split = LowBitSample.Module("p", 4, split: 2, splitScales: true);

    private static readonly QuantizedModule s_eight = LowBitSample.Module("p", 8);

    private static IEnumerable<TestCaseData> Tensors()
    {
        foreach (string name in new[] { "weight_packed", "weight_scale", "input_scale", "input_zero_point", "bias" })
            yield return Case($"no {name}", s_symmetric, name, null, "no such tensor");
        yield return Case("no weight", s_eight, "weight", null, "no such tensor");
        yield return Case("no weight_zero_point", s_asymmetric, "weight_zero_point", null, "no such tensor");

        yield return Case("weight_packed of signed bytes", s_symmetric, "weight_packed", Raw(DType.I8, [3, 18]), "expected U8, found I8");
        yield return Case("weight_packed too short", s_symmetric, "weight_packed", Raw(DType.U8, [3, 17]), "expected shape [3, 18], found [3, 17]");
        yield return Case("weight of unsigned bytes", s_eight, "weight", Raw(DType.U8, [3, 4, 3, 3]), "expected I8, found U8");
        yield return Case("weight of another shape", s_eight, "weight", Raw(DType.I8, [3, 36]), "expected shape [3, 4, 3, 3], found [3, 36]");
        yield return Case("a code of -128", s_eight, "weight", (DType.I8, [3, 4, 3, 3], [.. new byte[5], 0x80, .. new byte[102]]), "-128 at element 5");
        yield return Case("weight_scale of halves", s_symmetric, "weight_scale", Raw(DType.F16, [3]), "expected F32, found F16");
        yield return Case("weight_scale too long", s_symmetric, "weight_scale", Floats([4], 1, 1, 1, 1), "expected shape [3], found [4]");
        yield return Case("weight_scale without groups", s_groups, "weight_scale", Floats([3], 1, 1, 1), "expected shape [3, 2], found [3]");
        yield return Case("weight_scale of three halves", s_split, "weight_scale", Floats([3, 3], 1, 1, 1, 1, 1, 1, 1, 1, 1), "expected shape [3, 2], found [3, 3]");
        foreach ((float scale, string text) in new[] { (0f, "0"), (-1f, "-1"), (float.NaN, "NaN"), (float.PositiveInfinity, "Infinity") })
        {
            yield return Case($"weight_scale {text}", s_symmetric, "weight_scale", Floats([3], 1, scale, 1), $"must be finite and positive, found {text} at element 1");
            yield return Case($"input_scale {text}", s_symmetric, "input_scale", Floats([3], 1, 1, scale), $"must be finite and positive, found {text} at element 2");
            yield return Case($"input_channel_scale {text}", s_symmetric, "input_channel_scale", Floats([4], scale, 1, 1, 1), $"must be finite and positive, found {text} at element 0");
        }

        yield return Case("input_scale too short", s_symmetric, "input_scale", Floats([2], 1, 1), "expected 3 entries, one per timestep, or 1 entry, found shape [2]");
        yield return Case("input_scale empty", s_symmetric, "input_scale", Floats([0]), "found shape [0]");
        yield return Case("input_scale a scalar", s_symmetric, "input_scale", Floats([], 1), "found shape []");
        yield return Case("input_scale of halves without split", s_symmetric, "input_scale", Floats([3, 2], 1, 1, 1, 1, 1, 1), "expected shape [3], found [3, 2]");
        yield return Case("input_scale of one half", s_split, "input_scale", Floats([3], 1, 1, 1), "expected shape [3, 2], found [3]");
        yield return Case("input_zero_point of another length", s_symmetric, "input_zero_point", Raw(DType.U8, [1]), "expected shape [3], found [1]");
        yield return Case("input_zero_point out of range", s_asymmetric, "input_zero_point", (DType.U8, [3], [0, 63, 64]), "must be 0 to 63, found 64 at entry 2");
        yield return Case("weight_zero_point out of range", s_asymmetric, "weight_zero_point", (DType.U8, [3], [15, 16, 0]), "must be 0 to 15, found 16 in row 1");
        yield return Case("weight_zero_point of another shape", s_asymmetric, "weight_zero_point", Raw(DType.U8, [3, 1]), "expected shape [3], found [3, 1]");
        yield return Case("weight_zero_point of a symmetric weight", s_symmetric, "weight_zero_point", Raw(DType.U8, [3]), "symmetric weights have no zero points");
        yield return Case("input_channel_scale too short", s_symmetric, "input_channel_scale", Floats([3], 1, 1, 1), "expected shape [4], found [3]");
        yield return Case("bias too long", s_symmetric, "bias", Floats([4], 1, 1, 1, 1), "expected shape [3], found [4]");
        yield return Case("bias not a number", s_symmetric, "bias", Floats([3], 1, float.NaN, 1), "must be finite, found NaN at element 1");

        static TestCaseData Case(string name, QuantizedModule module, string tensor, (DType, long[], byte[])? other, string says)
            => new TestCaseData(module, tensor, other, says).SetArgDisplayNames(name);
        static (DType, long[], byte[]) Raw(DType type, long[] shape) => (type, shape, new byte[DTypes.ByteLength(type, shape)]);
        static (DType, long[], byte[]) Floats(long[] shape, params float[] values) => (DType.F32, shape, TensorConversion.FromSingles(DType.F32, values));
    }

    [TestCaseSource(nameof(Tensors))]
    public void A_wrong_tensor_is_refused(QuantizedModule module, string tensor, (DType Type, long[] Shape, byte[] Bytes)? other, string says)
    {
        using InMemoryTensors tensors = new("file");
        foreach ((TensorInfo info, byte[] bytes) in LowBitCodec.Write(module).Where(written => written.Info.Name != $"p.{tensor}")) tensors.AddBytes(info, bytes);
        if (other is { } found) tensors.AddBytes(new TensorInfo($"p.{tensor}", found.Type, found.Shape), found.Bytes);
        ModelFormatException error = Assert.Throws<ModelFormatException>(() => _ = LowBitCodec.Read(tensors, s_config.WithModules([module]), "p", s_shape, hasBias: true).Codes)!;
        Assert.That(error.Tensor, Is.EqualTo($"p.{tensor}"));
        Assert.That(error.Message, Does.StartWith("file: ").And.Contain(says));
    }

    private static IEnumerable<TestCaseData> Precisions()
    {
        yield return new TestCaseData(new ModulePrecision(4, 24, true, 8), "group_size must divide the 36 elements").SetArgDisplayNames("a group that does not divide the row");
        yield return new TestCaseData(new ModulePrecision(4, 12, true, 8), "multiple of the kernel's 9 taps, found 12").SetArgDisplayNames("a group of parts of a channel");
        yield return new TestCaseData(new ModulePrecision(4, 0, true, 8, 4), "split_channel must be below the 4").SetArgDisplayNames("a split behind the input");
        yield return new TestCaseData(new ModulePrecision(5, 0, true, 8), "expected shape [3, 23], found [3, 18]").SetArgDisplayNames("another width");
    }

    [TestCaseSource(nameof(Precisions))]
    public void A_precision_that_does_not_fit_the_network_is_refused(ModulePrecision precision, string says)
    {
        using InMemoryTensors tensors = new("file");
        foreach ((TensorInfo info, byte[] bytes) in LowBitCodec.Write(s_symmetric)) tensors.AddBytes(info, bytes);
        Assert.That(() => LowBitCodec.Read(tensors, s_config with { Default = precision }, "p", s_shape, true), Throws.TypeOf<ModelFormatException>().With.Message.Contains(says));
    }

    [Test]
    public void A_module_that_the_network_sees_otherwise_is_refused()
    {
        using InMemoryTensors tensors = new("file");
        foreach ((TensorInfo info, byte[] bytes) in LowBitCodec.Write(s_symmetric)) tensors.AddBytes(info, bytes);
        Assert.That(() => LowBitCodec.Read(tensors, s_config, "p", s_shape, hasBias: false), Throws.TypeOf<ModelFormatException>().With.Message.Contains("'p.bias': the network's layer has no bias"));
        Assert.That(() => LowBitCodec.Read(tensors, s_config with { ModulesInFloat = ["p"] }, "p", s_shape, true), Throws.TypeOf<ModelFormatException>().With.Message.Contains("in float"));
        Assert.That(() => LowBitCodec.Read(tensors, s_config, "p", new TensorShape(3, 4, 3), true), Throws.TypeOf<ModelFormatException>().With.Message.Contains("2 or 4 dimensions"));
        Assert.That(() => (s_config with { ModulesInFloat = ["q"] }).CheckNames("file", new HashSet<string> { "p" }), Throws.TypeOf<ModelFormatException>().With.Message.Contains("'q'"));
        Assert.That(() => s_config.WithModules([s_eight]).CheckNames("file", new HashSet<string> { "p" }), Throws.Nothing);
    }

    [TestCase("\"quant_method\": \"gptq\"", "quant_method': expected lowbit-diffusion, found gptq")]
    [TestCase("\"format_version\": 2", "format_version': expected 1 to 1, found 2; the file is newer")]
    [TestCase("\"format_version\": 0", "format_version': expected 1 to 1, found 0")]
    [TestCase("\"format_version\": \"1\"", "format_version': expected an integer")]
    [TestCase("\"weight_bits\": 1", "weight_bits': expected 2 to 8, found 1")]
    [TestCase("\"weight_bits\": 9", "weight_bits': expected 2 to 8, found 9")]
    [TestCase("\"activation_bits\": 16", "activation_bits': expected 2 to 8, found 16")]
    [TestCase("\"group_size\": -1", "group_size': expected 0 or more, found -1")]
    [TestCase("\"weight_bits\": 8, \"symmetric\": false", "symmetric': weights of 8 bits are symmetric")]
    [TestCase("\"timesteps\": [1, 5, 5]", "timesteps': must be finite and strictly ascending, found 5 at 2")]
    [TestCase("\"timesteps\": [5, 1]", "timesteps': must be finite and strictly ascending, found 1 at 1")]
    [TestCase("\"timesteps\": [1, NaN]", "timesteps': must be finite and strictly ascending, found NaN at 1")]
    [TestCase("\"timesteps\": [1, \"x\"]", "timesteps': expected an array of numbers")]
    [TestCase("\"modules\": {\"p\": {\"weight_bits\": 0}}", "modules.p.weight_bits': expected 2 to 8, found 0")]
    [TestCase("\"modules\": {\"p\": {\"split_channel\": -1}}", "modules.p.split_channel': expected 0 or more")]
    [TestCase("\"modules\": {\"p\": {\"rotation\": 64}}", "modules.p.rotation = 64")]
    [TestCase("\"attention\": \"int4\"", "attention': expected one of float, int8, bf16, found int4")]
    [TestCase("\"attention\": 8", "attention': expected a string")]
    [TestCase("\"modules\": {\"p\": null}", "modules.p': expected an object")]
    [TestCase("\"modules\": {\"p\": {}}, \"modules_in_float\": [\"p\"]", "modules_in_float': 'p' is also in modules")]
    [TestCase("\"rules\": [{\"modules\": \"*\"}]", "rules[0].precision': no such key")]
    [TestCase("\"rotation\": 64", "rotation = 64")]
    public void A_wrong_configuration_is_refused(string members, string says)
    {
        Dictionary<string, string> all = new()
        {
            ["quant_method"] = "\"lowbit-diffusion\"",
            ["format_version"] = "1",
            ["method"] = "\"mse\"",
            ["weight_bits"] = "4",
            ["symmetric"] = "true",
            ["activation_bits"] = "8",
        };
        string rest = string.Concat(all.Where(pair => !members.StartsWith($"\"{pair.Key}\"") && !members.Contains($", \"{pair.Key}\"")).Select(pair => $", \"{pair.Key}\": {pair.Value}"));
        Assert.That(() => QuantizationConfig.Read(JsonConfig.Parse("file", $"{{{members}{rest}}}")), Throws.TypeOf<ModelFormatException>().With.Message.Contains(says));
    }

    [TestCase("quant_method")]
    [TestCase("format_version")]
    [TestCase("method")]
    [TestCase("weight_bits")]
    [TestCase("symmetric")]
    [TestCase("activation_bits")]
    public void A_key_that_is_needed_to_run_must_be_there(string key)
    {
        string json = """{"quant_method": "lowbit-diffusion", "format_version": 1, "method": "mse", "weight_bits": 4, "symmetric": true, "activation_bits": 8}""";
        Assert.That(() => QuantizationConfig.Read(JsonConfig.Parse("file", json)), Throws.Nothing);
        Assert.That(() => QuantizationConfig.Read(JsonConfig.Parse("file", json.Replace($"\"{key}\"", $"\"_{key}\""))), Throws.TypeOf<ModelFormatException>().With.Message.Contains($"'{key}': no such key"));
    }
}

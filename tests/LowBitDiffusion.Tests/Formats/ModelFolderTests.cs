using LowBitDiffusion.Formats;

namespace LowBitDiffusion.Tests.Formats;

/// <summary>Models in diffusers' layout: the index, the components, weights in one file or several.</summary>
[TestFixture]
public sealed class ModelFolderTests
{
    private const string Index = """
        {"_class_name": "Pipeline", "_diffusers_version": "0.42.1", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDIMScheduler"], "safety_checker": [null, null],
         "id2label": {"10": "boot", "2": "bag"}, "null_label": 11, "default_guidance_scale": 1.25, "default_num_inference_steps": 20, "force_zeros": true, "extra": 5}
        """;

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void The_index_tells_components_and_settings()
    {
        _folder.Write("model_index.json", Index);
        ModelFolder model = ModelFolder.Open(_folder.Path);
        Assert.That(model.ClassName, Is.EqualTo("Pipeline"));
        Assert.That(model.Components, Is.EqualTo(new Dictionary<string, string> { ["unet"] = "UNet2DModel", ["scheduler"] = "DDIMScheduler" }));
        Assert.That(model.Labels, Is.EqualTo(new Dictionary<int, string> { [2] = "bag", [10] = "boot" }));
        Assert.That(model.NullLabel, Is.EqualTo(11));
        Assert.That(model.DefaultGuidanceScale, Is.EqualTo(1.25f));
        Assert.That(model.DefaultSteps, Is.EqualTo(20));
        Assert.That(model.Index.GetInt("extra"), Is.EqualTo(5));
    }

    [Test]
    public void Components_open_with_configuration_and_weights()
    {
        _folder.Write("model_index.json", Index);
        _folder.Write("unet/config.json", """{"_class_name": "UNet2DModel", "sample_size": 8}""");
        _folder.Write("scheduler/scheduler_config.json", """{"_class_name": "DDIMScheduler", "lambda_min_clipped": -Infinity}""");
        WriteWeights("unet/diffusion_pytorch_model.safetensors", "w");
        ModelFolder model = ModelFolder.Open(_folder.Path);
        using ComponentFolder unet = model.OpenComponent("unet");
        Assert.That(unet.ClassName, Is.EqualTo("UNet2DModel"));
        Assert.That(unet.Config.GetInt("sample_size"), Is.EqualTo(8));
        Assert.That(unet.Weights.ReadSingles("w"), Is.EqualTo(new[] { 1f, 2f }));
        Assert.That(unet.Quantization, Is.Null);
        Assert.That(model.OpenConfig("scheduler").GetDouble("lambda_min_clipped"), Is.EqualTo(double.NegativeInfinity));
        Assert.That(() => model.OpenComponent("vae"), Throws.TypeOf<ModelFormatException>().With.Message.Contains("'vae'").And.Message.Contains("unet, scheduler"));
    }

    [TestCase("diffusion_pytorch_model.safetensors")]
    [TestCase("diffusion_pytorch_model.fp16.safetensors")]
    [TestCase("model.safetensors")]
    [TestCase("model.fp16.safetensors")]
    public void Weights_have_one_of_several_names(string name)
    {
        _folder.Write("config.json", """{"architectures": ["CLIPTextModel"]}""");
        WriteWeights(name, "w");
        using ComponentFolder component = ComponentFolder.Open(_folder.Path);
        Assert.That(component.ClassName, Is.EqualTo("CLIPTextModel"));
        Assert.That(component.Weights.Tensors.Keys, Is.EqualTo(new[] { "w" }));
    }

    [TestCase("diffusion_pytorch_model.safetensors.index.json")]
    [TestCase("model.safetensors.index.json")]
    [TestCase("diffusion_pytorch_model.safetensors.index.fp16.json")]
    [TestCase("diffusion_pytorch_model.fp16.safetensors.index.json")]
    public void Weights_may_be_in_several_files(string name)
    {
        _folder.Write("config.json", "{}");
        WriteWeights("shard-1.safetensors", "a", "b");
        WriteWeights("shard-2.safetensors", "c");
        _folder.Write(name, """{"metadata": {"total_size": 24}, "weight_map": {"a": "shard-1.safetensors", "c": "shard-2.safetensors", "b": "shard-1.safetensors"}}""");
        using ComponentFolder component = ComponentFolder.Open(_folder.Path);
        byte[] range = new byte[4];
        component.Weights.ReadRange("c", 4, range);
        Assert.That(component.Weights.Tensors.Keys, Is.EquivalentTo(new[] { "a", "b", "c" }));
        Assert.That(component.Weights.ReadSingles("c"), Is.EqualTo(new[] { 1f, 2f }));
        Assert.That(component.Weights.ReadBytes("b"), Has.Length.EqualTo(8));
        Assert.That(BitConverter.ToSingle(range), Is.EqualTo(2f));
        Assert.That(() => component.Weights.ReadBytes("d"), Throws.TypeOf<ModelFormatException>().With.Message.Contains("'d'"));
    }

    [TestCase("""{"a": "s1", "b": "s1", "c": "s1", "d": "s2"}""", "'c': no such tensor", TestName = "a tensor that its file does not have")]
    [TestCase("""{"a": "s1", "d": "s2"}""", "'b': is not in the index", TestName = "a tensor that the index does not have")]
    [TestCase("""{"a": "s1", "b": "s1", "d": "s2", "x": "s3"}""", "'a': is also in", TestName = "a tensor in two files")]
    [TestCase("""{"a": "s1", "b": "s1", "d": "s9"}""", "s9: no such file", TestName = "a file that is missing")]
    [TestCase("""{"a": "../s1", "b": "s1", "d": "s2"}""", "'a': expected the name of a file", TestName = "a file above the folder")]
    [TestCase("""{"a": "/etc/passwd"}""", "'a': expected the name of a file", TestName = "an absolute path")]
    [TestCase("""{"a": "C:\\s1"}""", "'a': expected the name of a file", TestName = "a path of another system")]
    [TestCase("""{"a": ".."}""", "'a': expected the name of a file", TestName = "the folder above")]
    [TestCase("""{"a": ""}""", "'a': expected the name of a file", TestName = "no name")]
    [TestCase("""{"a": 1}""", "'weight_map.a': expected a string, found 1", TestName = "a number for a file")]
    public void An_index_that_does_not_fit_its_files_is_refused(string map, string says)
    {
        WriteWeights("s1", "a", "b");
        WriteWeights("s2", "d");
        WriteWeights("s3", "a", "x");
        string index = _folder.Write("model.safetensors.index.json", $$"""{"weight_map": {{map}} }""");
        Assert.That(() => ShardedTensors.Open(index), Throws.TypeOf<ModelFormatException>().With.Message.Contains(says));
    }

    [Test]
    public void An_index_without_a_map_is_refused()
        => Assert.That(() => ShardedTensors.Open(_folder.Write("i.json", "{}")), Throws.TypeOf<ModelFormatException>().With.Message.Contains("'weight_map': no such key"));

    [Test]
    public void What_is_missing_is_named()
    {
        Assert.That(() => ModelFolder.Open(_folder["none"]), Throws.TypeOf<ModelFormatException>().With.Message.Contains("no such folder"));
        Assert.That(() => ModelFolder.Open(_folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains("model_index.json: no such file"));
        Assert.That(() => ComponentFolder.Open(_folder["none"]), Throws.TypeOf<ModelFormatException>().With.Message.Contains("no such folder"));
        Assert.That(() => ComponentFolder.Open(_folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains("config.json: no such file"));
        _folder.Write("config.json", "{}");
        Assert.That(() => ComponentFolder.Open(_folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains("no weights: expected diffusion_pytorch_model.safetensors"));
    }

    [TestCase("""{"unet": ["diffusers", "X"]}""", "'_class_name': no such key", TestName = "no class")]
    [TestCase("""{"_class_name": "P", "../unet": ["diffusers", "X"]}""", "'../unet': expected the name of a folder", TestName = "a component above the folder")]
    [TestCase("""{"_class_name": "P", "id2label": {"one": "x"}}""", "'id2label': keys must be different numbers", TestName = "a label that is no number")]
    [TestCase("""{"_class_name": "P", "id2label": {"1": "x", "01": "y"}}""", "'id2label': keys must be different numbers", TestName = "a label twice")]
    [TestCase("""{"_class_name": "P", "null_label": "none"}""", "'null_label': expected an integer", TestName = "a null label that is no number")]
    public void An_index_that_is_wrong_is_refused(string index, string says)
    {
        _folder.Write("model_index.json", index);
        Assert.That(() => ModelFolder.Open(_folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(says));
    }

    [Test]
    public void Another_quantization_method_is_refused()
    {
        _folder.Write("config.json", """{"quantization_config": {"quant_method": "bitsandbytes"}}""");
        WriteWeights("model.safetensors", "w");
        Assert.That(() => ComponentFolder.Open(_folder.Path), Throws.TypeOf<ModelFormatException>().With.Message.Contains("'quantization_config.quant_method': expected lowbit-diffusion, found bitsandbytes"));
    }

    private void WriteWeights(string name, params string[] tensors)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(_folder[name])!);
        SafeTensorsWriter.Write(_folder[name], tensors.Select(tensor => (new TensorInfo(tensor, DType.F32, [2]), TensorConversion.FromSingles(DType.F32, [1, 2]))));
    }
}

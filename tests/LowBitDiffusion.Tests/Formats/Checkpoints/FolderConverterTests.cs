using LowBitDiffusion.Formats;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Formats.Checkpoints;

/// <summary>Conversion to a folder in diffusers' layout: from single files, and from folders to another float type.</summary>
[TestFixture]
public sealed class FolderConverterTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [TestCase("sd15", "model.safetensors", null)]
    [TestCase("sd15", "model.ckpt", DType.F16)]
    [TestCase("sd21", "model.ckpt", null)]
    [TestCase("sdxl", "model.safetensors", DType.BF16)]
    public void A_checkpoint_becomes_a_folder_with_the_same_weights(string family, string file, DType? type)
    {
        string path = TinyCheckpoint.Create(family).WriteTo(_folder[file]), output = _folder["out/model"];
        FolderConverter.Convert(path, output, new() { FloatType = type });
        ModelFolder single = ModelFolder.Open(path), folder = ModelFolder.Open(output);
        Assert.That(folder.Components, Is.EqualTo(single.Components));
        Assert.That(folder.Index.Root.GetRawText(), Is.EqualTo(single.Index.Root.GetRawText()));
        foreach (string name in folder.Components.Keys)
        {
            Assert.That(folder.FilesOf(name), Is.EquivalentTo(single.FilesOf(name)), name);
            foreach (string part in folder.FilesOf(name)) Assert.That(folder.ReadFile(name, part), Is.EqualTo(single.ReadFile(name, part)), $"{name}/{part}");
            Assert.That(folder.HasWeights(name), Is.EqualTo(single.HasWeights(name)), name);
            if (!folder.HasWeights(name)) continue;
            using ComponentFolder converted = folder.OpenComponent(name), original = single.OpenComponent(name);
            AssertSame(converted.Weights, original.Weights, type ?? DType.F32);
        }
    }

    [Test]
    public void Files_have_the_names_that_their_libraries_look_for()
    {
        FolderConverter.Convert(TinyCheckpoint.Create("sd15").WriteTo(_folder["model.safetensors"]), _folder["out"]);
        string[] files = [.. Directory.EnumerateFiles(_folder["out"], "*", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(_folder["out"], file).Replace('\\', '/'))];
        Assert.That(files, Is.EquivalentTo(new[]
        {
            "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json",
            "tokenizer/vocab.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
        }));
        using SafeTensorsFile weights = SafeTensorsFile.Open(_folder["out/unet/diffusion_pytorch_model.safetensors"]);
        Assert.That(weights.Metadata, Is.EqualTo(new Dictionary<string, string> { ["format"] = "pt" }));
    }

    [Test]
    public void A_folder_keeps_everything_but_its_floats()
    {
        WriteFolder(_folder["in"]);
        FolderConverter.Convert(_folder["in"], _folder["out"], new() { FloatType = DType.F16 });
        using ComponentFolder unet = ModelFolder.Open(_folder["out"]).OpenComponent("unet");
        Assert.That(unet.Weights.Tensors["w"].DType, Is.EqualTo(DType.F16));
        Assert.That(unet.Weights.Tensors["ids"].DType, Is.EqualTo(DType.I64), "integers stay");
        Assert.That(unet.Weights.ReadSingles("w"), Is.EqualTo(new[] { 1.5f, -2f }));
        Assert.That(File.ReadAllText(_folder["out/scheduler/scheduler_config.json"]), Is.EqualTo("""{"_class_name": "DDIMScheduler"}"""));
        Assert.That(File.ReadAllText(_folder["out/README.md"]), Is.EqualTo("a card"));
        Assert.That(File.Exists(_folder["out/unet/diffusion_pytorch_model.onnx"]), Is.False, "weights for others are left behind");
    }

    [TestCase(null)]
    [TestCase(DType.F16)]
    public void A_tensor_of_any_size_passes_in_pieces(DType? type)
    {
        const int elements = (4 << 20) + 3;
        float[] values = [.. Enumerable.Range(0, elements).Select(i => (float)(i % 2039))];
        _folder.Write("in/config.json", """{"_class_name": "UNet2DModel"}""");
        SafeTensorsWriter.Write(_folder["in/diffusion_pytorch_model.safetensors"], [(new TensorInfo("w", DType.F32, [elements]), TensorConversion.FromSingles(DType.F32, values))]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        FolderConverter.Convert(_folder["in"], _folder["out"], new() { FloatType = type });
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(4 << 20), "bytes allocated for a tensor of 16 MiB");
        using ComponentFolder converted = ComponentFolder.Open(_folder["out"]);
        Assert.That(converted.Weights.ReadSingles("w").AsSpan().SequenceEqual(values), Is.True);
    }

    [Test]
    public void A_network_alone()
    {
        WriteFolder(_folder["in"]);
        FolderConverter.Convert(_folder["in/unet"], _folder["out"], new() { FloatType = DType.BF16 });
        using ComponentFolder unet = ComponentFolder.Open(_folder["out"]);
        Assert.That((unet.Weights.Tensors["w"].DType, unet.ClassName), Is.EqualTo((DType.BF16, "UNet2DModel")));
    }

    [Test]
    public void Weights_of_PyTorch_in_a_folder()
    {
        _folder.Write("in/config.json", """{"_class_name": "UNet2DModel"}""");
        TorchFile file = new();
        file.Pickle.Dictionary(("w", p => file.Tensor(p, new TensorInfo("w", DType.F32, [1]), TensorConversion.FromSingles(DType.F32, [3f]))));
        file.Write(_folder["in/diffusion_pytorch_model.bin"]);
        FolderConverter.Convert(_folder["in"], _folder["out"]);
        using ComponentFolder unet = ComponentFolder.Open(_folder["out"]);
        Assert.That(unet.Weights.ReadSingles("w"), Is.EqualTo(new[] { 3f }));
    }

    [Test]
    public void What_cannot_be_converted_is_refused_and_leaves_nothing()
    {
        WriteFolder(_folder["in"], weight: 1e6f);
        Refused<InvalidRequestException>(_folder["in"], new() { FloatType = DType.F16 }, "1000000, too large for F16");
        Refused<InvalidRequestException>(_folder["in"], new() { FloatType = DType.I8 }, "expected F32, F16 or BF16, found I8");
        Refused<ModelFormatException>(_folder["none"], new(), "no such folder");
        File.Delete(_folder["in/unet/diffusion_pytorch_model.safetensors"]);
        Refused<ModelFormatException>(_folder["in"], new(), "no weights");

        Directory.CreateDirectory(_folder["low"]);
        QuantizationConfig config = new() { Method = "mse", Default = new ModulePrecision(8, 0, true, 8), Timesteps = LowBitSample.Timesteps };
        LowBitFolder.Write(_folder["low"], JsonConfig.Parse("config.json", "{}"), config, [LowBitSample.Module("a", 8)], new InMemoryTensors());
        Refused<InvalidRequestException>(_folder["low"], new(), "is quantized (mse), expected a float model");

        _folder.Write("out/there.txt", "");
        WriteFolder(_folder["in"]);
        Assert.That(() => FolderConverter.Convert(_folder["in"], _folder["out"]), Throws.TypeOf<OutputException>().With.Message.Contains("not empty"));
        FolderConverter.Convert(_folder["in"], _folder["out"], new() { Overwrite = true });
        Assert.That(File.Exists(_folder["out/there.txt"]), Is.False);

        void Refused<T>(string model, ConversionOptions options, string says) where T : LowBitDiffusionException
        {
            Assert.That(() => FolderConverter.Convert(model, _folder["out"], options), Throws.TypeOf<T>().With.Message.Contains(says));
            Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path).Select(entry => Path.GetFileName(entry)), Has.None.StartsWith("out"), says);
        }
    }

    [Test]
    public void Progress_grows_to_one_and_cancelling_leaves_nothing()
    {
        string path = TinyCheckpoint.Create("sd15").WriteTo(_folder["model.safetensors"]);
        Watcher<ConversionProgress> told = new();
        FolderConverter.Convert(path, _folder["out"], progress: told);
        Assert.That(told.Reports.Select(report => report.Fraction), Is.Ordered.And.All.GreaterThan(0));
        Assert.That(told.Reports[^1].Fraction, Is.EqualTo(1));
        Assert.That(told.Reports.Select(report => report.Component).Distinct(), Is.EquivalentTo(new[] { "unet", "vae", "text_encoder" }));

        using CancellationTokenSource cancel = new();
        Watcher<ConversionProgress> stop = new(report =>
        {
            if (report.Fraction > 0.5) cancel.Cancel();
        });
        Assert.That(() => FolderConverter.Convert(path, _folder["cancelled"], progress: stop, cancellationToken: cancel.Token), Throws.InstanceOf<OperationCanceledException>());
        Assert.That(Directory.EnumerateFileSystemEntries(_folder.Path).Select(entry => Path.GetFileName(entry)), Is.EquivalentTo(new[] { "model.safetensors", "out" }));
    }

    private static void AssertSame(ITensorSource found, ITensorSource expected, DType type)
    {
        Assert.That(found.Tensors.Keys, Is.EquivalentTo(expected.Tensors.Keys));
        foreach (string name in expected.Tensors.Keys)
        {
            Assert.That((found.Tensors[name].DType, found.Tensors[name].ShapeText), Is.EqualTo((type, expected.Tensors[name].ShapeText)), name);
            Assert.That(found.ReadBytes(name), Is.EqualTo(TensorConversion.FromSingles(type, expected.ReadSingles(name))), name);
        }
    }

    private void WriteFolder(string path, float weight = 1.5f)
    {
        string name = Path.GetFileName(path);
        _folder.Write($"{name}/model_index.json", """{"_class_name": "DDIMPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDIMScheduler"]}""");
        _folder.Write($"{name}/README.md", "a card");
        _folder.Write($"{name}/scheduler/scheduler_config.json", """{"_class_name": "DDIMScheduler"}""");
        _folder.Write($"{name}/unet/config.json", """{"_class_name": "UNet2DModel"}""");
        _folder.Write($"{name}/unet/diffusion_pytorch_model.onnx", "other");
        SafeTensorsWriter.Write(
            Path.Combine(path, "unet", "diffusion_pytorch_model.safetensors"),
            [(new TensorInfo("w", DType.F32, [2]), TensorConversion.FromSingles(DType.F32, [weight, -2f])), (new TensorInfo("ids", DType.I64, [1]), new byte[8])]);
    }
}

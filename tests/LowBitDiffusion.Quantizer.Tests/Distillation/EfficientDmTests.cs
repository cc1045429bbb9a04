using System.Text.Json;
using LowBitDiffusion.Pipelines;
using LowBitDiffusion.Quantization;
using LowBitDiffusion.Quantizer.PostTraining;
using LowBitDiffusion.Quantizer.Sampling;
using LowBitDiffusion.Quantizer.Tests.Support;

namespace LowBitDiffusion.Quantizer.Tests.Distillation;

/// <summary>The method as a whole: from a float folder to a quantized one.</summary>
internal sealed class EfficientDmTests : TinyModelFixture
{
    private QuantizationRequest _request = null!;

    [SetUp]
    public void Ask() => _request = new QuantizationRequest
    {
        Model = Folder["float"],
        Output = Folder["low"],
        Method = "efficientdm",
        ActivationBits = 4,
        Images = 2,
        Batch = 2,
        Steps = 3,
        Iterations = 12,
        ReportImages = 2,
    };

    [Test]
    public async Task The_folder_runs_and_says_how_it_was_learned()
    {
        ModelQuantizer.Run(_request);
        await using (DiffusionPipeline pipeline = await DiffusionPipeline.LoadAsync(Folder["low"]))
        {
            IReadOnlyList<GeneratedImage> images = await pipeline.GenerateAsync(new GenerationRequest { Labels = [1], Steps = 3 });
            Assert.That(images[0].Sample, Is.All.Matches<float>(float.IsFinite));
        }

        using SourceModel quantized = SourceModel.Open(Folder["low"]);
        Assert.That(quantized.Quantization!.Method, Is.EqualTo("efficientdm"));
        JsonElement training = Json("low/training.json");
        Assert.That(training.GetProperty("settings").GetProperty("epochs").GetDouble(), Is.EqualTo(4), "12 updates are 4 trajectories of 3 steps");
        Assert.That(training.GetProperty("parts").GetArrayLength(), Is.EqualTo(3), "a loss curve for each timestep");
        Assert.That(training.GetProperty("settings").GetProperty("relative_input_step_rate").GetDouble(), Is.GreaterThan(0), "in steps");
        foreach (string plot in new[] { "training-loss", "training-sqnr" }) Assert.That(File.Exists(Folder[$"low/{plot}.png"]) && File.Exists(Folder[$"low/{plot}.svg"]), plot);
        Agreement.OfFolder(Folder["low"], Folder["float"]);
        Assert.That(Directory.Exists(Folder["low.partial"]), Is.False, "nothing is left to go on with");
    }

    [Test]
    public void Scales_are_learned_along_other_steps_than_those_of_the_file()
    {
        ModelQuantizer.Run(_request with { Steps = 2, TrainingSteps = 4, ReportImages = 0 });
        using SourceModel quantized = SourceModel.Open(Folder["low"]);
        QuantizedModule module = quantized.Weights.Quantized("mid_block.resnets.0.conv1")!;
        Assert.That(module.Input.Timesteps.ToArray(), Is.EqualTo(new float[] { 0, 500 }), "the file's timesteps");
        JsonElement training = Json("low/training.json");
        Assert.That(training.GetProperty("parts").EnumerateArray().Select(part => part.GetProperty("name").GetString()), Is.EqualTo(new[] { "timestep 750", "timestep 500", "timestep 250", "timestep 0" }));
    }

    [TestCase("adapters")]
    [TestCase("scale-aware")]
    [TestCase("talsq")]
    public void Ingredients_can_be_left_out(string ingredient)
    {
        ModelQuantizer.Run(_request with { Output = Folder["whole"], ReportImages = 0 });
        ModelQuantizer.Run(_request with { Without = [ingredient], ReportImages = 0 });
        using SourceModel whole = SourceModel.Open(Folder["whole"]), without = SourceModel.Open(Folder["low"]);
        const string name = "mid_block.resnets.0.conv1";
        Assert.That(without.Weights.Quantized(name)!.Input.IsStatic, Is.EqualTo(ingredient == "talsq"), "one scale for all timesteps");
        Assert.That(whole.Weights.Quantized(name)!.Input.IsStatic, Is.False);
        Assert.That(without.Weights.Quantized(name)!.WeightScales, Is.Not.EqualTo(whole.Weights.Quantized(name)!.WeightScales), "the other run learns otherwise");
    }

    [Test]
    public void A_budget_decides_how_many_trajectories_there_are()
    {
        ModelQuantizer.Run(_request with { Iterations = null, Budget = TimeSpan.FromSeconds(4), ReportImages = 0 });
        JsonElement training = Json("low/training.json");
        Assert.That(training.GetProperty("settings").GetProperty("epochs").GetDouble(), Is.InRange(1, 16_000 / 3));
    }
}

using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd inspect</c> counts what a model holds and costs, and points at scales that look wrong.</summary>
public sealed class InspectTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task A_float_model_is_stored_in_single_precision()
    {
        JsonElement model = (await Lbd.SucceedAsync("inspect", SharedModels.Float, "--json")).Json;

        Assert.That(model.GetProperty("parameters").GetInt64(), Is.EqualTo(409345), "as the golden index says");
        Assert.That(model.GetProperty("stored_bytes").GetInt64(), Is.EqualTo(4 * 409345));
        Assert.That(model.GetProperty("bit_operations_per_step").GetInt64(), Is.EqualTo(model.GetProperty("macs_per_step").GetInt64() * 32 * 32));
    }

    [Test]
    public async Task Arithmetic_of_a_layer_is_positions_times_weights_times_bits()
    {
        JsonElement conv = Module((await Lbd.SucceedAsync("inspect", SharedModels.Quantized, "--json")).Json, "down_blocks.0.resnets.0.conv1");

        Assert.That(conv.GetProperty("weight_shape").EnumerateArray().Select(d => d.GetInt32()), Is.EqualTo(new[] { 16, 16, 3, 3 }));
        Assert.That(conv.GetProperty("macs").GetInt64(), Is.EqualTo(16 * 16 * 16 * 16 * 9), "16x16 pixels, 16x16x3x3 weights");
        Assert.That(conv.GetProperty("bit_operations").GetInt64(), Is.EqualTo(16L * 16 * 16 * 16 * 9 * 4 * 8), "weights of 4 bits, activations of 8");
    }

    [Test]
    public async Task Bytes_in_the_file_are_those_of_the_file()
    {
        JsonElement model = (await Lbd.SucceedAsync("inspect", SharedModels.Quantized, "--json")).Json;

        long file = new FileInfo(TinyModel.Weights(SharedModels.Quantized)).Length;
        Assert.That(model.GetProperty("stored_bytes").GetInt64(), Is.LessThan(file).And.GreaterThan(file / 2), "all but the header");
        Assert.That(model.GetProperty("stored_bytes").GetInt64(), Is.LessThan(model.GetProperty("float_bytes").GetInt64() / 2));
    }

    [Test]
    public async Task Scales_are_shown_over_timesteps()
    {
        LbdResult result = await Lbd.SucceedAsync("inspect", SharedModels.Quantized, "--steps");

        Assert.That(result.Out, Does.Match(@"\| conv_in +\| 16x1x3x3 +\| +8 \| +8 \|.*\d…\d.*[▁-█]{3} "), "smallest and largest scale and three timesteps drawn");
        Assert.That(result.Out, Does.Match(@"\| conv_in +\| +\| +666 \| +0\.\d+ \| +\d+ \|"), "one row for each timestep");
        Assert.That(result.Out, Does.Contain("| memory: total"));
    }

    [Test]
    public async Task The_folder_of_a_network_alone_can_be_inspected()
    {
        LbdResult result = await Lbd.SucceedAsync("inspect", Repository.Golden("unet2d_scale_shift"));

        Assert.That(result.Out, Does.Contain("UNet2DModel"));
        Assert.That(result.Out, Does.Not.Contain("memory:"), "the memory of a pipeline needs a whole model");
    }

    [Test]
    public async Task The_network_of_a_pipeline_that_is_not_known_can_be_inspected()
    {
        string model = TinyFolder.StableDiffusion(_folder["model"]), index = Path.Combine(model, "model_index.json");
        File.WriteAllText(index, File.ReadAllText(index).Replace("StableDiffusionPipeline", "StableDiffusionMagicPipeline"));

        LbdResult result = await Lbd.SucceedAsync("inspect", model);

        Assert.That(result.Out, Does.Contain("UNet2DConditionModel").And.Contain("StableDiffusionMagicPipeline: cannot be drawn with, there are StableDiffusionPipeline, "));
    }

    [Test]
    public async Task A_network_that_is_not_known_is_refused_with_those_that_are()
    {
        string model = TinyFolder.StableDiffusion(_folder["model"]), config = Path.Combine(model, "unet", "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"UNet2DConditionModel\"", "\"UNetMagicModel\""));

        LbdResult result = await Lbd.RunAsync("inspect", model);

        Assert.That(result.ExitCode, Is.Not.Zero);
        Assert.That(result.Error, Does.Contain("UNetMagicModel").And.Contain("UNet2DConditionModel").And.Contain("PixArtTransformer2DModel"));
    }

    [TestCase("input_scale", 1, 20f, @"conv_in: the scale jumps by x20\.0 between timesteps 0 and 333")]
    [TestCase("input_scale", 2, 1 / 1000f, @"conv_in: the range collapses at timestep 666: scale")]
    [TestCase("weight_scale", 5, 100f, @"conv_in: a weight scale of \S+ is \d+x the median")]
    public async Task Suspicious_scales_are_pointed_at(string tensor, int index, float factor, string warning)
    {
        string model = TinyModel.Copy(SharedModels.Quantized, _folder["model"]);
        TinyModel.EditValues(model, "conv_in.input_scale", scales => Array.Fill(scales, 0.01f));
        TinyModel.EditValues(model, $"conv_in.{tensor}", scales => scales[index] *= factor);

        LbdResult result = await Lbd.SucceedAsync("inspect", model);

        Assert.That(result.Out, Does.Match($"(?m)^warning: ({warning})"));
    }

    [Test]
    public async Task A_one_sided_range_with_a_large_scale_is_pointed_at()
    {
        string model = TinyModel.Copy(SharedModels.Quantized, _folder["model"]);
        TinyModel.EditValues(model, "conv_in.input_scale", scales => (scales[0], scales[1], scales[2]) = (0.01f, 0.05f, 0.01f));
        TinyModel.EditTensor(model, "conv_in.input_zero_point", (info, _) => (info, [128, 255, 128]));

        LbdResult result = await Lbd.SucceedAsync("inspect", model);

        Assert.That(result.Out, Does.Contain("warning: conv_in: a one-sided range at timestep 333: zero point 255 with scale 0.05, median 0.01"));
    }

    [Test]
    public async Task Even_scales_are_not_pointed_at()
    {
        string model = TinyModel.Copy(SharedModels.Quantized, _folder["model"]);
        TinyModel.EditValues(model, "conv_in.input_scale", scales => Array.Fill(scales, 0.01f));

        JsonElement conv = Module((await Lbd.SucceedAsync("inspect", model, "--json")).Json, "conv_in");

        Assert.That(conv.GetProperty("warnings").GetArrayLength(), Is.Zero);
    }

    private static JsonElement Module(JsonElement model, string name) => model.GetProperty("modules").EnumerateArray().Single(m => m.GetProperty("module").GetString() == name);
}

using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd bench</c>, <c>doctor</c> and <c>kernels</c> say what this machine does; that their figures are there is tested, not how large they are.</summary>
public sealed class MeasurementTests
{
    [Test]
    public async Task Bench_measures_loading_steps_images_memory_and_operations()
    {
        LbdResult result = await Lbd.SucceedAsync("bench", "--model", SharedModels.Quantized, "--steps", "3", "--rounds", "2", "--batch", "2", "--threads", "1", "--json");

        Assert.That(result.Json.GetProperty("peak_resident_bytes").GetInt64(), Is.GreaterThan(1 << 20));
        JsonElement model = result.Json.GetProperty("models")[0];
        foreach (string figure in new[] { "load_seconds", "first_image_seconds", "step_p50_seconds", "step_p95_seconds", "images_per_second" })
            Assert.That(model.GetProperty("result").GetProperty(figure).GetDouble(), Is.Positive, figure);
        Assert.That(model.GetProperty("operations").EnumerateArray().Sum(o => o.GetProperty("share").GetDouble()), Is.EqualTo(1).Within(1e-6), "shares of a step");
    }

    [Test]
    public async Task Bench_compares_models_with_the_first()
    {
        LbdResult result = await Lbd.SucceedAsync("bench", "--model", SharedModels.Float, "--compare", SharedModels.Quantized, "--steps", "2", "--rounds", "1");

        Assert.That(result.Out, Does.Match(@"(?m)^\| \S*tiny +\|.*\| +1\.00 \|$"), "the first model's ratio");
        Assert.That(result.Out, Does.Match(@"(?m)^\| \S*tiny-w4a8 +\|.*\| +\d+\.\d\d \|$"));
    }

    [TestCase("w4a8")]
    [TestCase("f32")]
    public async Task Bench_measures_published_networks_without_their_weights(string weights)
    {
        LbdResult result = await Lbd.SucceedAsync("bench", "--architecture", "ddpm-cifar10", "--weights", weights, "--steps", "1", "--json");

        JsonElement json = result.Json;
        Assert.That(json.GetProperty("parameters").GetInt64(), Is.EqualTo(35_746_307));
        Assert.That(json.GetProperty("step_p50_seconds").GetDouble(), Is.Positive);
        Assert.That(json.GetProperty("operations").EnumerateArray().Any(o => o.GetProperty("kind").GetString() == $"conv {weights}"), Is.True, "convolutions in the precision asked for");
        Assert.That(json.GetProperty("weight_bytes").GetInt64() + json.GetProperty("activation_bytes").GetInt64(), Is.EqualTo(json.GetProperty("estimated_bytes").GetInt64()).Within(10).Percent);
    }

    [TestCase("--architecture", "sd3", "expected one of ddpm-cifar10")]
    [TestCase("--weights", "int4", "such as w4a8")]
    public async Task Bench_refuses_networks_and_precisions_that_it_does_not_know(string option, string value, string says)
    {
        LbdResult result = await Lbd.RunAsync(["bench", .. option == "--architecture" ? Array.Empty<string>() : ["--architecture", "ddpm-cifar10"], option, value]);

        Assert.That(result.ExitCode, Is.EqualTo(2));
        Assert.That(result.Error, Does.Contain(says));
    }

    [Test]
    public async Task Doctor_names_the_chosen_kernels_and_why_others_are_not_used()
    {
        LbdResult result = await Lbd.SucceedAsync("doctor");

        Assert.That(result.Out, Does.Match(@"\| integer kernels +\| \w+: .+ \|"));
        Assert.That(result.Out, Does.Contain("integer kernels for Scalar are not used: "));
    }

    [Test]
    public async Task Kernels_lists_exactly_one_choice_for_integers_and_one_for_floats()
    {
        LbdResult result = await Lbd.SucceedAsync("kernels");

        Assert.That(result.Out.Split('\n').Count(line => line.TrimEnd().EndsWith("chosen    |", StringComparison.Ordinal) || line.Contains("| chosen", StringComparison.Ordinal)), Is.EqualTo(2), result.Out);
    }
}

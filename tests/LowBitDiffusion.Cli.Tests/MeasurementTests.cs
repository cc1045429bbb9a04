using System.Text.Json;
using LowBitDiffusion.Cli.Tests.Support;
using LowBitDiffusion.Kernels.Dispatch;

namespace LowBitDiffusion.Cli.Tests;

/// <summary><c>lbd bench</c>, <c>doctor</c> and <c>kernels</c> say what this machine does; that their figures are there is tested, not how large they are.</summary>
public sealed class MeasurementTests
{
    [Test]
    public async Task Bench_measures_loading_steps_images_memory_and_operations()
    {
        LbdResult result = await Lbd.SucceedAsync("bench", "--model", SharedModels.Quantized, "--steps", "3", "--rounds", "2", "--batch", "2", "--threads", "1", "--json");

        Assert.That(result.Json.GetProperty("peak_resident_bytes").GetInt64(), Is.GreaterThan(1 << 20));
        Assert.That(result.Json.GetProperty("foretold_bytes").GetInt64(), Is.GreaterThan(1 << 20));
        JsonElement model = result.Json.GetProperty("models")[0];
        foreach (string figure in new[] { "load_seconds", "start_to_first_step_seconds", "first_image_seconds", "step_p50_seconds", "step_p95_seconds", "images_per_second" })
            Assert.That(model.GetProperty("result").GetProperty(figure).GetDouble(), Is.Positive, figure);
        Assert.That(model.GetProperty("outside_operations").GetDouble(), Is.InRange(0, 0.9));
        Assert.That(model.GetProperty("operations").EnumerateArray().Sum(o => o.GetProperty("share").GetDouble()), Is.EqualTo(1).Within(1e-6), "shares of a step");
    }

    [Test]
    public async Task Bench_measures_a_published_network_without_its_weights()
    {
        LbdResult result = await Lbd.SucceedAsync("bench", "--architecture", "ddpm-cifar10", "--steps", "2", "--json");

        Assert.That(result.Json.GetProperty("start_to_first_step_seconds").GetDouble(), Is.GreaterThan(result.Json.GetProperty("first_step_seconds").GetDouble()));
        Assert.That(result.Json.GetProperty("outside_operations").GetDouble(), Is.InRange(0, 0.5));
        Assert.That(result.Json.GetProperty("steps").GetInt32(), Is.EqualTo(2));
        double best = result.Json.GetProperty("best_seconds").GetDouble();
        Assert.That(best, Is.Positive.And.LessThanOrEqualTo(result.Json.GetProperty("step_minimum_seconds").GetDouble()), "every operation's fastest call, added up");
        Assert.That(result.Json.GetProperty("operations").EnumerateArray().Sum(o => o.GetProperty("best_seconds_per_step").GetDouble()), Is.EqualTo(best).Within(1e-9));
    }

    [Test]
    public async Task Bench_measures_the_denoiser_of_a_folder_alone_as_its_files_have_it()
    {
        LbdResult result = await Lbd.SucceedAsync("bench", "--architecture", SharedModels.Quantized, "--steps", "1", "--json");

        Assert.That(result.Json.GetProperty("precision").GetString(), Is.EqualTo("as stored"));
        Assert.That(result.Json.GetProperty("operations").EnumerateArray().Select(o => o.GetProperty("kind").GetString()), Has.Some.EndsWith(" w4a8"));
        LbdResult refused = await Lbd.RunAsync(["bench", "--architecture", SharedModels.Quantized, "--weights", "w8a8"]);
        Assert.That($"{refused.ExitCode} {refused.Error}", Does.StartWith("2 ").And.Contain("--weights"));
    }

    [TestCase("sd15", "64", "does not decode")]
    [TestCase("sd-vae", "60", "a multiple of 8")]
    public async Task Bench_refuses_tiles_that_cannot_be(string architecture, string tile, string message)
    {
        LbdResult result = await Lbd.RunAsync(["bench", "--architecture", architecture, "--tile", tile]);

        Assert.That($"{result.ExitCode} {result.Error}", Does.StartWith("2 ").And.Contain(message));
    }

    [Test]
    public async Task Bench_compares_models_with_the_first()
    {
        LbdResult result = await Lbd.SucceedAsync("bench", "--model", SharedModels.Float, "--compare", SharedModels.Quantized, "--steps", "2", "--rounds", "1");

        Assert.That(result.Out, Does.Match(@"(?m)^\| \S*tiny +\|.*\| +1\.00 \|$"), "the first model's ratio");
        Assert.That(result.Out, Does.Match(@"(?m)^\| \S*tiny-w4a8 +\|.*\| +\d+\.\d\d \|$"));
    }

    [Test]
    public async Task Doctor_names_the_chosen_kernels_and_why_others_are_not_used()
    {
        LbdResult result = await Lbd.SucceedAsync("doctor");

        Assert.That(result.Out, Does.Match(@"\| integer kernels +\| \w+: .+ \|"));
        Assert.That(result.Out, Does.Contain("integer kernels for Scalar are not used: "));
        Assert.That(result.Out, Does.Match(@"\| attention in integers +\| (faster|about as fast|slower)"));
    }

    [Test]
    public async Task Kernels_lists_exactly_one_choice_for_integers_and_one_for_floats()
    {
        LbdResult result = await Lbd.SucceedAsync("kernels");

        Assert.That(result.Out.Split('\n').Count(line => line.TrimEnd().EndsWith("chosen    |", StringComparison.Ordinal) || line.Contains("| chosen", StringComparison.Ordinal)), Is.EqualTo(2), result.Out);
    }

    [Test]
    public async Task Kernels_shows_assembled_code_or_says_that_there_is_none()
    {
        LbdResult result = await Lbd.RunAsync(["kernels", "--disassemble"]);

        if (KernelTable.Best.InstructionSet == InstructionSet.Avx512Vnni) Assert.That(result.Out, Does.Contain("vpdpbusd").And.Contain("ret"));
        else Assert.That($"{result.ExitCode} {result.Error}", Does.StartWith("2 ").And.Contain("assembled at run time"));
    }
}

using System.Text.Json.Nodes;
using LowBitDiffusion.Schedulers;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Schedulers;

/// <summary>Configurations: what diffusers writes is understood, what cannot be honoured is refused with the file and the key.</summary>
public sealed class SchedulerConfigTests
{
    private static readonly SamplingRun Run = new(10, 1, 8);

    private static readonly string[] Files =
        [.. Directory.GetFiles(Repository.Golden("schedulers", "config_files"), "*.json", SearchOption.AllDirectories)];

    [TestCaseSource(nameof(Files))]
    public void FilesOfDiffusersAreUnderstood(string file)
    {
        string json = File.ReadAllText(file).Replace("-Infinity", "\"-Infinity\"");
        Assert.That(SchedulerFactory.Create(new SchedulerConfig(JsonNode.Parse(json)!.AsObject(), file), Run).Timesteps, Has.Count.GreaterThanOrEqualTo(10));
    }

    [Test]
    public void EverySchedulerHasDefaultsForAllKeys([ValueSource(typeof(SchedulerFactory), nameof(SchedulerFactory.Supported))] string name) =>
        Assert.That(Create(new JsonObject { ["_class_name"] = name }).Timesteps, Has.Count.GreaterThanOrEqualTo(10));

    [Test]
    public void AnUnknownSchedulerIsRefusedWithThoseSupported() => Assert.That(
        () => Create(new JsonObject { ["_class_name"] = "KDPM2DiscreteScheduler" }),
        Throws.InstanceOf<ModelFormatException>().With.Message.Contains("KDPM2DiscreteScheduler")
            .And.Message.Contains("DDIMScheduler, DDPMScheduler").And.Message.Contains("UniPCMultistepScheduler"));

    [Test]
    public void AConfigurationNamesItsScheduler() =>
        Assert.That(() => Create([]), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("_class_name"));

    [TestCase("DDIMScheduler", "beta_schedule", "\"exotic\"", "scaled_linear")]
    [TestCase("DDIMScheduler", "beta_schedule", "7", "expected a word")]
    [TestCase("DDIMScheduler", "beta_start", "\"small\"", "expected a number")]
    [TestCase("DDIMScheduler", "beta_start", "-0.1", "between 0 and 1")]
    [TestCase("DDIMScheduler", "beta_end", "1e999", "finite")]
    [TestCase("DDIMScheduler", "clip_sample", "1", "true or false")]
    [TestCase("DDIMScheduler", "num_train_timesteps", "0", "from 1 to")]
    [TestCase("DDIMScheduler", "num_train_timesteps", "1e12", "from 1 to")]
    [TestCase("DDIMScheduler", "num_train_timesteps", "10.5", "integer")]
    [TestCase("DDIMScheduler", "trained_betas", "[0.1, 0.2]", "1000")]
    [TestCase("DDIMScheduler", "trained_betas", "[0.1, null]", "null")]
    [TestCase("DDIMScheduler", "trained_betas", "0.1", "list")]
    [TestCase("DDIMScheduler", "prediction_type", "\"noise\"", "v_prediction")]
    [TestCase("DDIMScheduler", "timestep_spacing", "\"random\"", "trailing")]
    [TestCase("DDIMScheduler", "steps_offset", "-1", "from 0 to")]
    [TestCase("DDIMScheduler", "dynamic_thresholding_ratio", "1.5", "0 to 1")]
    [TestCase("DDIMScheduler", "sample_max_value", "0", "more than 0")]
    [TestCase("DDIMScheduler", "clip_sample_range", "-1", "0 or more")]
    [TestCase("DDPMScheduler", "variance_type", "\"learned\"", "learned_range")]
    [TestCase("PNDMScheduler", "prediction_type", "\"sample\"", "v_prediction")]
    [TestCase("PNDMScheduler", "rescale_betas_zero_snr", "true", "not supported")]
    [TestCase("EulerDiscreteScheduler", "use_beta_sigmas", "true", "not supported")]
    [TestCase("EulerDiscreteScheduler", "timestep_type", "\"continuous\"", "discrete")]
    [TestCase("EulerDiscreteScheduler", "sigma_min", "0", "more than 0")]
    [TestCase("DPMSolverMultistepScheduler", "solver_order", "4", "from 1 to 3")]
    [TestCase("DPMSolverMultistepScheduler", "algorithm_type", "\"dpmsolver\"", "sigma_min")]
    [TestCase("DPMSolverMultistepScheduler", "algorithm_type", "\"sde-dpmsolver\"", "sde-dpmsolver++")]
    [TestCase("DPMSolverMultistepScheduler", "lambda_min_clipped", "50", "no timestep")]
    [TestCase("DPMSolverMultistepScheduler", "lambda_min_clipped", "\"deep\"", "expected a number")]
    [TestCase("DPMSolverMultistepScheduler", "use_flow_sigmas", "true", "not supported")]
    [TestCase("DPMSolverSinglestepScheduler", "algorithm_type", "\"sde-dpmsolver++\"", "dpmsolver++")]
    [TestCase("UniPCMultistepScheduler", "solver_type", "\"midpoint\"", "bh1, bh2")]
    [TestCase("UniPCMultistepScheduler", "shift_terminal", "0.1", "not supported")]
    [TestCase("FlowMatchEulerDiscreteScheduler", "shift", "0", "more than 0")]
    [TestCase("FlowMatchEulerDiscreteScheduler", "stochastic_sampling", "true", "not supported")]
    [TestCase("LCMScheduler", "original_inference_steps", "0", "from 1 to")]
    public void AValueThatCannotBeHonouredIsRefused(string scheduler, string key, string value, string reason)
    {
        var json = new JsonObject { ["_class_name"] = scheduler, [key] = JsonNode.Parse(value) };
        Assert.That(
            () => Create(json),
            Throws.InstanceOf<ModelFormatException>().With.Message.Contains("scheduler_config.json").And.Message.Contains(key).And.Message.Contains(reason));
    }

    [Test]
    public void PureNoiseCannotBeInvertedFromItsNoise()
    {
        var json = new JsonObject { ["_class_name"] = "DDIMScheduler", ["rescale_betas_zero_snr"] = true, ["timestep_spacing"] = "trailing" };
        Assert.That(() => Create(json), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("v_prediction"));
    }

    [Test]
    public void ARepeatedKeyIsRefused() => Assert.That(
        () => new SchedulerConfig(JsonNode.Parse("""{"_class_name": "DDIMScheduler", "beta_end": 1, "beta_end": 2}""")!.AsObject(), "scheduler_config.json"),
        Throws.InstanceOf<ModelFormatException>().With.Message.Contains("repeats"));

    [TestCase(0, 1, 8, 0, "steps")]
    [TestCase(-1, 1, 8, 0, "steps")]
    [TestCase(1001, 1, 8, 0, "steps")]
    [TestCase(10, 0, 8, 0, "batch")]
    [TestCase(10, 3, 8, 0, "sample")]
    [TestCase(10, 1, 0, 0, "sample")]
    [TestCase(10, 1, 8, -0.1, "eta")]
    [TestCase(10, 1, 8, 1.1, "eta")]
    [TestCase(10, 1, 8, double.NaN, "eta")]
    public void ARequestOutOfRangeIsRefused(int steps, int batch, int length, double eta, string parameter)
    {
        var config = new SchedulerConfig(new JsonObject { ["_class_name"] = "DDIMScheduler" }, "scheduler_config.json");
        Assert.That(() => SchedulerFactory.Create(config, new SamplingRun(steps, batch, length) { Eta = eta }), Refuses(parameter));
    }

    [TestCase("LCMScheduler", 51, "steps", TestName = "More steps than a consistency model was distilled on are refused")]
    [TestCase("PNDMScheduler", 3, "steps", TestName = "Fewer steps than Runge-Kutta takes are refused")]
    [TestCase("DPMSolverMultistepScheduler", 1000, "steps", TestName = "Steps that fall on the same timestep are refused")]
    public void AStepCountASchedulerCannotMakeIsRefused(string scheduler, int steps, string parameter) =>
        Assert.That(() => Create(new JsonObject { ["_class_name"] = scheduler }, steps), Refuses(parameter));

    [Test]
    public void AnOffsetBeyondTheLastTimestepIsRefused() =>
        Assert.That(() => Create(new JsonObject { ["_class_name"] = "DDIMScheduler", ["steps_offset"] = 1 }, 1000), Refuses("steps"));

    [Test]
    public void DynamicShiftingNeedsMu() =>
        Assert.That(() => Create(new JsonObject { ["_class_name"] = "FlowMatchEulerDiscreteScheduler", ["use_dynamic_shifting"] = true }), Refuses("mu"));

    [Test]
    public void ALearnedVarianceNeedsAModelThatPredictsIt()
    {
        IScheduler scheduler = Create(new JsonObject { ["_class_name"] = "DDPMScheduler", ["variance_type"] = "learned_range" });
        Assert.That(
            () => scheduler.Step(0, new float[8], new float[8], new LowBitDiffusion.Randomness.TorchCpuGenerator(0)),
            Throws.InstanceOf<ModelFormatException>().With.Message.Contains("variance_type"));
    }

    private static NUnit.Framework.Constraints.IResolveConstraint Refuses(string parameter) =>
        Throws.InstanceOf<InvalidRequestException>().With.Property(nameof(InvalidRequestException.Parameter)).EqualTo(parameter);

    private static IScheduler Create(JsonObject json, int steps = 10) =>
        SchedulerFactory.Create(new SchedulerConfig(json, "scheduler_config.json"), Run with { Steps = steps });
}

using System.Text.Json.Nodes;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Tests.Schedulers;

/// <summary>
/// A model that knows the clean sample: whatever the solver, the step count, the call a run begins at and the noise on the way, the run must end at that
/// sample. Nothing here comes from diffusers.
/// </summary>
public sealed class OracleTests
{
    private static readonly float[] Clean = [-0.9f, -0.5f, 0.05f, 0.1f, 0.3f, 0.6f, 0.75f, 0.9f];

    private static readonly string[] Names = [.. SamplingGoldens.Cases("scheduler").Select(item => (string)item["name"]!)];

    [Test]
    public void TheRunEndsAtTheCleanSample([ValueSource(nameof(Names))] string name, [Values(1, 2, 3, 4, 7, 20, 50)] int steps)
    {
        JsonObject golden = SamplingGoldens.Read(name + ".json");
        if (NeedsMoreSteps(golden, steps)) return;
        int calls = Create(golden, steps).Timesteps.Count;
        foreach (int begin in new[] { 0, 1, 2, 4, calls / 2, calls - 1 }.Where(begin => begin < calls).Distinct())
        {
            IScheduler scheduler = Create(golden, steps);
            if (!scheduler.CanBeginAt(begin)) continue;
            var noise = new TorchCpuGenerator(7);
            float[] sample = new float[Clean.Length];
            noise.FillNormal(sample);
            scheduler.AddNoise(begin, Clean, sample, sample);
            for (int call = begin; call < calls; call++)
            {
                float[] prediction = Predict(golden, scheduler, call, sample);
                float[] preview = new float[Clean.Length];
                scheduler.PredictOriginal(call, prediction, sample, preview);
                Assert.That(preview, Is.EqualTo(Clean).Within(2e-3f), $"from call {begin}: preview of call {call} of {calls}");
                scheduler.Step(call, prediction, sample, noise);
            }

            Assert.That(sample, Is.EqualTo(Clean).Within(Residue(golden, scheduler, steps)), $"from call {begin} of {calls}");
        }
    }

    [Test]
    public void EveryNumberOfStepsRunsOrIsRefused([ValueSource(nameof(Names))] string name)
    {
        JsonObject golden = SamplingGoldens.Read(name + ".json");
        foreach (int steps in new[] { 1, 2, 3, 5, 6, 8, 9, 13, 14, 15, 16, 17, 99, 333, 499, 500, 501, 998, 999, 1000 })
        {
            IScheduler scheduler;
            try
            {
                scheduler = Create(golden, steps);
            }
            catch (InvalidRequestException)
            {
                continue;
            }

            float[] sample = Array.ConvertAll(Clean, x => x * scheduler.InitialNoiseSigma);
            var noise = new TorchCpuGenerator(1);
            float[] prediction = new float[LearnsVariance(golden) ? 2 * Clean.Length : Clean.Length];
            for (int call = 0; call < scheduler.Timesteps.Count; call++) scheduler.Step(call, prediction, sample, noise);
            Assert.That(scheduler.Timesteps, Has.All.InRange(0f, 1000f), $"{steps} steps: timesteps");
            Assert.That(sample, Has.All.Matches<float>(float.IsFinite), $"{steps} steps");
        }
    }

    [TestCaseSource(nameof(Names))]
    public void CallsAreMadeInOrder(string name)
    {
        JsonObject golden = SamplingGoldens.Read(name + ".json");
        IScheduler scheduler = Create(golden, 10);
        float[] prediction = new float[2 * Clean.Length];
        float[] sample = [.. Clean];
        var noise = new TorchCpuGenerator(1);
        scheduler.Step(0, prediction, sample, noise);
        Assert.That(scheduler.CanBeginAt(0), Is.True, "a run begins at its first call");
        Assert.That(() => scheduler.Step(0, prediction, sample, noise), Throws.InvalidOperationException, "the same call twice");
        Assert.That(() => scheduler.Step(2, prediction, sample, noise), Throws.InvalidOperationException, "a call left out");
        Assert.That(
            () => scheduler.Step(scheduler.Timesteps.Count, prediction, sample, noise),
            Throws.InstanceOf<ArgumentOutOfRangeException>(), "a call beyond the run");
        Assert.That(() => scheduler.Step(1, prediction, new float[Clean.Length + 1], noise), Throws.ArgumentException, "a sample of another size");
        Assert.That(() => scheduler.Step(1, new float[3], sample, noise), Throws.ArgumentException, "a prediction of another size");
        Assert.That(() => scheduler.Step(1, prediction, sample, noise), Throws.Nothing, "the next call");
    }

    // Level, noise and prediction follow from how the scheduler noises: x = α x₀ + σ ε.
    private static float[] Predict(JsonObject golden, IScheduler scheduler, int call, float[] sample)
    {
        float[] ones = [.. Enumerable.Repeat(1f, Clean.Length)];
        float[] level = new float[Clean.Length];
        scheduler.AddNoise(call, ones, new float[Clean.Length], level);
        double alpha = level[0];
        scheduler.AddNoise(call, new float[Clean.Length], ones, level);
        double sigma = level[0];
        double norm = Math.Sqrt(alpha * alpha + sigma * sigma);
        double[] noise = [.. sample.Zip(Clean, (x, clean) => (x - alpha * clean) / sigma)];
        string type = (string?)golden["config"]!["prediction_type"] ?? "flow";
        IEnumerable<double> prediction = type switch
        {
            "epsilon" => noise,
            "sample" => Clean.Select(clean => (double)clean),
            "v_prediction" => noise.Zip(Clean, (epsilon, clean) => (alpha * epsilon - sigma * clean) / norm),
            _ => noise.Zip(Clean, (epsilon, clean) => epsilon - clean),
        };
        return [.. prediction.Concat(LearnsVariance(golden) ? new double[Clean.Length] : []).Select(value => (float)value)];
    }

    [TestCase("HeunDiscreteScheduler", "{}", new[] { 0, 2, 4 })]
    [TestCase("PNDMScheduler", """{"skip_prk_steps": true}""", new[] { 0, 2, 3, 4, 5 })]
    [TestCase("PNDMScheduler", "{}", new[] { 0, 4 })]
    [TestCase("DDIMScheduler", "{}", new[] { 0, 1, 2, 3, 4, 5 })]
    public void ARunBeginsOnlyWhereACallDoesNotContinueTheOneBefore(string name, string keys, int[] begins)
    {
        JsonObject config = JsonNode.Parse(keys)!.AsObject();
        config["_class_name"] = name;
        for (int call = 0; call < 6; call++)
        {
            IScheduler scheduler = SchedulerFactory.Create(new SchedulerConfig(config, "scheduler_config.json"), new SamplingRun(10, 1, 1));
            Assert.That(scheduler.CanBeginAt(call), Is.EqualTo(begins.Contains(call)), $"call {call}");
            if (!begins.Contains(call))
                Assert.That(() => scheduler.Step(call, [0], new float[1], new TorchCpuGenerator(0)), Throws.InvalidOperationException, $"call {call}");
        }
    }

    // How far from clean the final level leaves the sample: not at all, or a few of the smallest sigmas of training. DDIM and PNDM step by N div n, so a
    // spacing that is a little wider ends at timestep 0 instead of below it. PNDM turns velocities into noise after mixing them, which is only
    // nearly right when the steps are long.
    private static double Residue(JsonObject golden, IScheduler scheduler, int steps)
    {
        JsonNode config = golden["config"]!;
        bool endsAtSigmaMin = (string?)config["final_sigmas_type"] == "sigma_min" || (string?)config["interpolation_type"] == "log_linear";
        bool endsAtFirstAlpha = config["set_alpha_to_one"] is JsonValue toOne && !(bool)toOne && (string?)config["_class_name"] != "LCMScheduler";
        bool mixesVelocities = (string?)config["_class_name"] == "PNDMScheduler" && (string?)config["prediction_type"] == "v_prediction";
        bool endsAtTimestep0 = (string?)config["_class_name"] is "DDIMScheduler" or "PNDMScheduler" && scheduler.Timesteps[^1] >= 1000 / steps;
        return mixesVelocities ? 1 : endsAtSigmaMin || endsAtFirstAlpha || endsAtTimestep0 ? 0.2 : scheduler.InitialNoiseSigma > 1000 ? 2e-2 : 5e-3;
    }

    private static bool LearnsVariance(JsonObject golden) => (string?)golden["config"]!["variance_type"] == "learned_range";

    private static bool NeedsMoreSteps(JsonObject golden, int steps) => golden["config"]!["skip_prk_steps"] is JsonValue skip && !(bool)skip && steps < 4;

    private static IScheduler Create(JsonObject golden, int steps) => SchedulerFactory.Create(
        new SchedulerConfig(golden["config"]!.AsObject(), "scheduler_config.json"),
        new SamplingRun(steps, 1, Clean.Length)
        {
            Eta = (double?)golden["step_arguments"]!["eta"] ?? 0,
            Mu = (double?)golden["set_timesteps_arguments"]!["mu"],
        });
}

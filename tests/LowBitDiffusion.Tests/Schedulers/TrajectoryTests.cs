using System.Text.Json.Nodes;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Tests.Schedulers;

/// <summary>Every scheduler walks the trajectory of diffusers with the toy model the golden cases name.</summary>
public sealed class TrajectoryTests
{
    private static readonly string[] Names = [.. SamplingGoldens.Cases("scheduler").Select(item => (string)item["name"]!)];

    [TestCaseSource(nameof(Names))]
    public void EveryStepIsThatOfDiffusers(string name)
    {
        JsonObject golden = SamplingGoldens.Read(name + ".json");
        foreach (JsonNode? run in golden["runs"]!.AsArray()) CheckRun(golden, run!.AsObject());
    }

    [TestCaseSource(nameof(Names))]
    public void AnImageOfABatchIsTheImageAlone(string name)
    {
        JsonObject golden = SamplingGoldens.Read(name + ".json");
        float[] unit = golden["x_unit"].Floats();
        float[] other = Array.ConvertAll(unit, x => 3 * x - 1);
        float[] batch = Run(golden, 5, [.. unit, .. other], NoiseGenerators.CreateBatch(NoiseSource.TorchCpu, [1, 2]), 2);

        Assert.That(batch[..unit.Length], Is.EqualTo(Run(golden, 5, unit, new TorchCpuGenerator(1), 1)), "image 0 of the batch differs from the image alone");
        Assert.That(batch[unit.Length..], Is.EqualTo(Run(golden, 5, other, new TorchCpuGenerator(2), 1)), "image 1 of the batch differs from the image alone");
    }

    [TestCaseSource(nameof(Names))]
    public void StepsDoNotAllocate(string name)
    {
        JsonObject golden = SamplingGoldens.Read(name + ".json");
        float[] unit = golden["x_unit"].Floats();
        IScheduler scheduler = Create(golden, 10, unit.Length, 1);
        float[] prediction = new float[PredictsVariance(golden) ? 2 * unit.Length : unit.Length];
        var noise = new TorchCpuGenerator(0);
        int last = scheduler.Timesteps.Count - 1;
        for (int call = 0; call < last; call++) scheduler.Step(call, prediction, unit, noise);

        long before = GC.GetAllocatedBytesForCurrentThread();
        scheduler.Step(last, prediction, unit, noise);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero, "bytes allocated by the last step");
    }

    private static void CheckRun(JsonObject golden, JsonObject run)
    {
        int steps = (int)run["num_inference_steps"]!;
        float tolerance = (float)run["tolerance"]!;
        JsonArray trajectory = run["x"]!.AsArray();
        float[] unit = golden["x_unit"].Floats();
        IScheduler scheduler = Create(golden, steps, unit.Length, 1);

        float[] timesteps = run["timesteps"].Floats();
        Assert.That(scheduler.Timesteps, Is.EqualTo(timesteps).Within(2e-4f), $"{steps} steps: timesteps");
        foreach (int i in Enumerable.Range(0, timesteps.Length).Where(i => float.IsInteger(timesteps[i])))
            Assert.That(scheduler.Timesteps[i], Is.EqualTo(timesteps[i]).Within(IsInSigma(run) ? 2e-4f : 0), $"{steps} steps: timestep of call {i}");
        Assert.That(scheduler.InitialNoiseSigma, Is.EqualTo((float)run["init_noise_sigma"]!).Within(1).Ulps, $"{steps} steps: initial noise");

        var noise = new RecordedNoise(run["noise"] as JsonArray ?? []);
        float[] sample = Array.ConvertAll(unit, x => x * scheduler.InitialNoiseSigma);
        float[] original = new float[unit.Length];
        AssertClose(sample, trajectory[0].Floats(), tolerance, $"{steps} steps: start");
        for (int call = 0; call < timesteps.Length; call++)
        {
            float[] prediction = Predict(golden, scheduler, call, sample);
            int drawn = noise.Draws;
            scheduler.PredictOriginal(call, prediction, sample, original);
            scheduler.Step(call, prediction, sample, noise);
            AssertClose(sample, trajectory[call + 1].Floats(), tolerance, $"{steps} steps: call {call}, timestep {timesteps[call]}");
            Assert.That(noise.Draws - drawn, Is.EqualTo(scheduler.NeedsNoise(call) ? 1 : 0), $"{steps} steps: noise drawn at call {call}");
            Assert.That(original, Has.All.Matches<float>(float.IsFinite), $"{steps} steps: preview of call {call}");
        }

        Assert.That(noise.Remaining, Is.Zero, $"{steps} steps: recorded noise that was not drawn");
    }

    private static float[] Run(JsonObject golden, int steps, float[] unit, INoiseGenerator noise, int batch)
    {
        IScheduler scheduler = Create(golden, steps, unit.Length, batch);
        float[] sample = Array.ConvertAll(unit, x => x * scheduler.InitialNoiseSigma);
        for (int call = 0; call < scheduler.Timesteps.Count; call++) scheduler.Step(call, Predict(golden, scheduler, call, sample, batch), sample, noise);
        return sample;
    }

    private static IScheduler Create(JsonObject golden, int steps, int length, int batch) => SchedulerFactory.Create(
        new SchedulerConfig(golden["config"]!.AsObject(), "scheduler_config.json"),
        new SamplingRun(steps, batch, length)
        {
            Eta = (double?)golden["step_arguments"]!["eta"] ?? 0,
            UseClippedModelOutput = (bool?)golden["step_arguments"]!["use_clipped_model_output"] ?? false,
            Mu = (double?)golden["set_timesteps_arguments"]!["mu"],
        });

    // The toy model of the golden cases: 0.3 tanh(x) + 0.1 x t/1000 + 0.05, and 0.5 tanh(x) as the variance of models that learn one.
    private static float[] Predict(JsonObject golden, IScheduler scheduler, int call, float[] sample, int batch = 1)
    {
        float[] input = new float[sample.Length];
        scheduler.ScaleModelInput(call, sample, input);
        float time = scheduler.Timesteps[call] / 1000f;
        float[] mean = Array.ConvertAll(input, x => 0.3f * MathF.Tanh(x) + 0.1f * x * time + 0.05f);
        if (!PredictsVariance(golden)) return mean;
        float[] variance = Array.ConvertAll(input, x => 0.5f * MathF.Tanh(x));
        int image = sample.Length / batch;
        return [.. Enumerable.Range(0, batch).SelectMany(i => mean.Skip(i * image).Take(image).Concat(variance.Skip(i * image).Take(image)))];
    }

    private static bool PredictsVariance(JsonObject golden) => ((string)golden["model"]!).Contains("learned variance", StringComparison.Ordinal);

    // Samplers in sigma interpolate their timesteps in float; an integer among them may be off by its last bits.
    private static bool IsInSigma(JsonObject run) => run.ContainsKey("sigmas") && run["timesteps"].Floats().Any(t => !float.IsInteger(t));

    private static void AssertClose(float[] actual, float[] expected, float tolerance, string what)
    {
        float scale = MathF.Max(1, expected.Max(MathF.Abs));
        Assert.That(actual, Is.EqualTo(expected).Within(tolerance * scale), what);
    }

    private sealed class RecordedNoise(JsonArray draws) : INoiseGenerator
    {
        public int Draws { get; private set; }

        public int Remaining => draws.Count - Draws;

        public void FillNormal(Span<float> destination) => draws[Draws++].Floats().CopyTo(destination);
    }
}

using System.Text.Json.Nodes;
using LowBitDiffusion.Randomness;
using LowBitDiffusion.Schedulers;

namespace LowBitDiffusion.Tests.Schedulers;

/// <summary>
/// A prediction that carries noise: samplers that add noise add so much less that the next sample has the deviation it would have had. Coefficients are measured on the scheduler itself:
/// <c>s = x'(z = 1) − x'(z = 0)</c> and <c>c = (x'(e + 1) − x'(e))</c>; then <c>s'² = max(s² − c²σ², 0)</c>.
/// </summary>
public sealed class PredictionNoiseTests
{
    private const int Steps = 5;

    [Test]
    public void TheNextSampleKeepsItsDeviation(
        [Values("DDIMScheduler", "DDPMScheduler", "EulerAncestralDiscreteScheduler")] string name, [Values("epsilon", "v_prediction", "sample")] string prediction, [Values(0.1, 0.4, 30)] double sigma)
    {
        for (int call = 0; call < Steps - 1; call++)
        {
            double start = Next(name, prediction, call, 0.3f, noise: 0, sigma: 0), s = Next(name, prediction, call, 0.3f, noise: 1, sigma: 0) - start;
            double c = Next(name, prediction, call, 0.4f, noise: 0, sigma: 0) - start;
            double expected = Math.Sqrt(Math.Max(s * s - c * c * 100 * sigma * sigma, 0));
            Assert.That(Next(name, prediction, call, 0.3f, noise: 1, sigma) - start, Is.EqualTo(expected).Within(2e-4 * Math.Max(1, s)), $"call {call}: s {s}, c {10 * c}");
        }
    }

    [Test]
    public void ADeterministicSamplerIsNotChanged() =>
        Assert.That(Next("DDIMScheduler", "epsilon", 2, 0.3f, noise: 1, sigma: 0.4, eta: 0), Is.EqualTo(Next("DDIMScheduler", "epsilon", 2, 0.3f, noise: 1, sigma: 0, eta: 0)));

    [Test]
    public void PapersFormulaForDdim()
    {
        // coef = √(1 − ᾱ' − s²) − √(ᾱ' (1 − ᾱ)/ᾱ), with ᾱ of timesteps 600 and 400 of the linear schedule.
        double[] cumulative = new double[1000];
        double product = 1;
        for (int t = 0; t < 1000; t++) cumulative[t] = product *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999);
        (double a, double previous) = (cumulative[600], cumulative[400]);
        double s2 = (1 - previous) / (1 - a) * (1 - a / previous), coefficient = Math.Sqrt(Math.Max(1 - previous - s2, 0)) - Math.Sqrt(previous * (1 - a) / a), sigma = 0.2;
        double found = Next("DDIMScheduler", "epsilon", 1, 0.3f, noise: 1, sigma) - Next("DDIMScheduler", "epsilon", 1, 0.3f, noise: 0, sigma);
        Assert.That(found, Is.EqualTo(Math.Sqrt(s2 - coefficient * coefficient * sigma * sigma)).Within(1e-5));
    }

    // One step from the same sample.
    private static double Next(string name, string prediction, int call, float predicted, float noise, double sigma, double eta = 1)
    {
        JsonObject json = new()
        {
            ["_class_name"] = name,
            ["num_train_timesteps"] = 1000,
            ["beta_start"] = 0.0001,
            ["beta_end"] = 0.02,
            ["beta_schedule"] = "linear",
            ["prediction_type"] = prediction,
            ["timestep_spacing"] = "leading",
        };
        if (name is "DDIMScheduler" or "DDPMScheduler") json["clip_sample"] = false;
        IScheduler scheduler = SchedulerFactory.Create(new SchedulerConfig(json, "test"), new SamplingRun(Steps, 1, 1) { Eta = eta, PredictionNoise = sigma == 0 ? null : _ => sigma });
        float[] sample = [0.5f];
        scheduler.Step(call, [predicted], sample, new Constant(noise));
        return sample[0];
    }

    private sealed class Constant(float value) : INoiseGenerator
    {
        public void FillNormal(Span<float> destination) => destination.Fill(value);
    }
}

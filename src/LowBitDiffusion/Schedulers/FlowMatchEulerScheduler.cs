using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// Euler's method for rectified flow (Liu, Gong and Liu, "Flow Straight and Fast", 2022; Esser et al., "Scaling Rectified Flow Transformers", 2024): <c>x_σ =
/// (1 − σ) x₀ + σ ε</c>, the model
/// predicts <c>v = ε − x₀</c>, and <c>x' = x + (σ' − σ) v</c>. Timesteps are <c>N σ</c>. The shift moves σ towards noise for larger images:
/// <code>
/// static           σ ← s σ / (1 + (s − 1) σ)              applied to the ends of the range, then to every σ
/// dynamic, exp     σ ← e^μ / (e^μ + 1/σ − 1)              dynamic, linear     σ ← μ / (μ + 1/σ − 1)
/// </code>
/// </summary>
internal sealed class FlowMatchEulerScheduler(SchedulerConfig config, SamplingRun run) : Scheduler(run, Plan(config, run))
{
    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise) =>
        sample.Add(Level(call + 1).Sigma - Level(call).Sigma, prediction);

    private static CallPlan Plan(SchedulerConfig config, SamplingRun run)
    {
        config.RefuseFlags("use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas", "stochastic_sampling");
        if (config.Has("shift_terminal")) throw config.Error("shift_terminal", "is not supported, expected null");
        bool isDynamic = config.Flag("use_dynamic_shifting", false);
        Func<double, double> shift = isDynamic ? DynamicShift(config, run) : StaticShift(config);
        double largest = isDynamic ? 1 : shift(1);
        double smallest = isDynamic ? 1.0 / config.TrainSteps : shift(1.0 / config.TrainSteps);

        double[] sigmas = new double[run.Steps];
        for (int i = 0; i < sigmas.Length; i++) sigmas[i] = shift(largest + (run.Steps == 1 ? 0 : i / (run.Steps - 1.0)) * (smallest - largest));
        if (config.Flag("use_karras_sigmas", false)) sigmas = SigmaSchedule.Karras(sigmas[0], sigmas[^1], run.Steps);
        return new CallPlan(
            PredictionType.Flow,
            Array.ConvertAll(sigmas, sigma => (float)(sigma * config.TrainSteps)),
            [.. sigmas.Append(0).Select(sigma => new NoiseLevel(1 - sigma, sigma))]);
    }

    private static Func<double, double> StaticShift(SchedulerConfig config)
    {
        double shift = config.Number("shift", 1);
        if (shift <= 0) throw config.Error("shift", $"expected more than 0, found {shift}");
        return sigma => shift * sigma / (1 + (shift - 1) * sigma);
    }

    private static Func<double, double> DynamicShift(SchedulerConfig config, SamplingRun run)
    {
        bool exponential = config.Choice("time_shift_type", "exponential", ("exponential", true), ("linear", false));
        if (run.Mu is not { } mu) throw new InvalidRequestException("mu", "the scheduler shifts by the image's size and needs it, found none");
        double factor = exponential ? Math.Exp(mu) : mu;
        if (!(factor > 0 && double.IsFinite(factor))) throw new InvalidRequestException("mu", $"expected a shift above 0, found {mu}");
        return sigma => factor / (factor + 1 / sigma - 1);
    }
}

using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// Linear multistep of order 4 (Adams-Bashforth on uneven steps, Crowson's k-diffusion): the slopes of the last four calls are interpolated by a polynomial in
/// σ, which is integrated.
/// <code>
/// x' = x + Σ_k c_k ε_{i−k},    c_k = ∫_{σ_i}^{σ_{i+1}} Π_{j≠k} (τ − σ_{i−j}) / (σ_{i−k} − σ_{i−j}) dτ
/// </code>
/// </summary>
internal sealed class LmsScheduler(SchedulerConfig config, SamplingRun run) : ExplodingScheduler(config, run, Plan(config, run))
{
    private const int Order = 4;
    private readonly History _slopes = new(Order, run.SampleLength);

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        ToNoise(Level(call), prediction, sample, _slopes.Push());
        for (int k = 0; k < _slopes.Count; k++) sample.Add(Coefficient(call, k), _slopes[k]);
    }

    private static SigmaPlan Plan(SchedulerConfig config, SamplingRun run)
    {
        config.RefuseFlags("rescale_betas_zero_snr");
        return SigmaPlan.Exploding(config, run, new SigmaSchedule(NoiseSchedule.FromConfig(config)));
    }

    // The integrand has degree 3 at most, which Gauss' rule with two nodes integrates exactly.
    private double Coefficient(int call, int k)
    {
        (double from, double to) = (Level(call).Sigma, Level(call + 1).Sigma);
        double centre = (from + to) / 2;
        double offset = (to - from) / 2 / Math.Sqrt(3);
        return (to - from) / 2 * (Basis(centre - offset) + Basis(centre + offset));

        double Basis(double tau)
        {
            double product = 1;
            for (int j = 0; j < _slopes.Count; j++)
            {
                if (j != k) product *= (tau - Level(call - j).Sigma) / (Level(call - k).Sigma - Level(call - j).Sigma);
            }

            return product;
        }
    }
}

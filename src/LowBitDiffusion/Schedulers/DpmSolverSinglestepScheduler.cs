using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// DPM-Solver and DPM-Solver++ in singlestep form: calls come in groups of 1, 2 or 3, and every call of a group starts again from the group's first sample,
/// with one model output more. With
/// the group's levels s2, s1, s0 (s0 the newest) and h from its first level to the target:
/// <code>
/// order 2:  D0 = m1,  D1 = (m0 − m1)/r0                                  r0 = (λ_s0 − λ_first)/h,  r1 = (λ_s1 − λ_first)/h
/// order 3:  D0 = m2,  a = (m1 − m2)/r1,  b = (m0 − m2)/r0:               midpoint D1 = b;   heun D1 = (r0 a − r1 b)/(r0 − r1),  D2 = 2 (b − a)/(r0 − r1)
/// </code>
/// </summary>
internal sealed class DpmSolverSinglestepScheduler : Scheduler
{
    private readonly DpmSettings _settings;
    private readonly int[] _orders;
    private readonly OriginalLimiter _limiter;
    private readonly History _outputs;
    private readonly float[] _start;

    public DpmSolverSinglestepScheduler(SchedulerConfig config, SamplingRun run) : this(config, run, DpmSettings.Read(config))
    {
    }

    private DpmSolverSinglestepScheduler(SchedulerConfig config, SamplingRun run, DpmSettings settings) : base(run, Plan(config, run, settings))
    {
        if (settings.Algorithm == DpmAlgorithm.DataStochastic)
            throw config.Error("algorithm_type", "expected one of dpmsolver++, dpmsolver, found \"sde-dpmsolver++\"");
        _settings = settings;
        _orders = Orders(run.Steps, settings, config.Flag("lower_order_final", false));
        _limiter = new OriginalLimiter(config, run, clipByDefault: null);
        _outputs = new History(settings.Order, run.SampleLength);
        _start = new float[run.SampleLength];
    }

    protected override OriginalLimiter Limiter => _limiter;

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        if (_settings.Algorithm == DpmAlgorithm.Noise) ToLimitedNoise(Level(call), prediction, sample, _outputs.Push());
        else ToOriginal(Level(call), prediction, sample, _outputs.Push());

        // A run that begins inside a group starts it there.
        int order = Math.Min(_orders[call], CallsMade + 1);
        if (order == 1) sample.CopyTo(_start);
        NoiseLevel first = Level(call - order + 1);
        var c = DpmCoefficients.Between(first, Level(call + 1), _settings.Algorithm);
        SampleMath.Combine(sample, c.OfSample, _start, c.D0, _outputs[order - 1]);
        if (order == 1) return;

        double h = Level(call + 1).Lambda - first.Lambda;
        double r0 = (Level(call).Lambda - first.Lambda) / h;
        if (order == 2)
        {
            double d1 = (_settings.Midpoint ? c.D1Midpoint : c.D1) / r0;
            sample.Add(d1, _outputs[0]);
            sample.Add(-d1, _outputs[1]);
            return;
        }

        double r1 = (Level(call - 1).Lambda - first.Lambda) / h;
        double a = _settings.Midpoint ? 0 : (c.D1 * r0 - 2 * c.D2) / (r0 - r1) / r1;
        double b = (_settings.Midpoint ? c.D1 : (2 * c.D2 - c.D1 * r1) / (r0 - r1)) / r0;
        sample.Add(b, _outputs[0]);
        sample.Add(a, _outputs[1]);
        sample.Add(-a - b, _outputs[2]);
    }

    /// <summary>
    /// The order of each call: 1, 2, 3, 1, 2, 3, … A count the order does not divide leaves the last group smaller; lowering the final order, or a final σ of
    /// 0, ends with a group of one.
    /// </summary>
    private static int[] Orders(int steps, DpmSettings settings, bool lowerOrderFinal)
    {
        int[] orders = [.. Enumerable.Range(0, steps).Select(call => call % settings.Order + 1)];
        if (settings.EndsClean || (lowerOrderFinal && steps % settings.Order == 0)) orders[^1] = 1;
        return orders;
    }

    private static SigmaPlan Plan(SchedulerConfig config, SamplingRun run, DpmSettings settings)
    {
        config.RefuseFlags("rescale_betas_zero_snr");
        NoiseSchedule forward = NoiseSchedule.FromConfig(config);
        float[] grid = TimestepGrid.WithoutLast(TimestepSpacing.Linspace, config.TrainSteps, DpmSettings.LastTimestep(config, forward), run.Steps, offset: 0);
        return SigmaPlan.Preserving(config, run, new SigmaSchedule(forward), grid, settings.EndsClean);
    }
}

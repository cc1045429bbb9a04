using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// DPM-Solver and DPM-Solver++ in multistep form, orders 1 to 3: the Taylor terms of <see cref="DpmCoefficients"/> come from the last model outputs m0, m1, m2
/// at λ0 &gt; λ1 &gt; λ2.
/// <code>
/// order 2:  D1 = (m0 − m1)/r0                               r0 = (λ0 − λ1)/h,  r1 = (λ1 − λ2)/h
/// order 3:  a = (m0 − m1)/r0,  b = (m1 − m2)/r1:            D1 = a + r0/(r0 + r1) (a − b),  D2 = (a − b)/(r0 + r1)
/// </code>
/// The first steps have as many terms as there are outputs; the last steps fall back to lower orders for stability.
/// </summary>
internal sealed class DpmSolverMultistepScheduler : Scheduler
{
    private const int FewSteps = 15;
    private readonly DpmSettings _settings;
    private readonly bool _lowerOrderFinal;
    private readonly bool _firstOrderFinal;
    private readonly OriginalLimiter _limiter;
    private readonly History _outputs;
    private readonly float[] _noise;

    public DpmSolverMultistepScheduler(SchedulerConfig config, SamplingRun run) : this(config, run, DpmSettings.Read(config))
    {
    }

    private DpmSolverMultistepScheduler(SchedulerConfig config, SamplingRun run, DpmSettings settings) : base(run, Plan(config, run, settings))
    {
        if (settings is { Algorithm: DpmAlgorithm.DataStochastic, Order: 3 })
            throw config.Error("solver_order", "expected 1 or 2 with sde-dpmsolver++, found 3");
        _settings = settings;
        _lowerOrderFinal = config.Flag("lower_order_final", true) && Timesteps.Count < FewSteps;
        _firstOrderFinal = _lowerOrderFinal || settings.EndsClean || config.Flag("euler_at_final", false);
        _limiter = new OriginalLimiter(config, run, clipByDefault: null);
        _outputs = new History(settings.Order, run.SampleLength);
        _noise = settings.Algorithm == DpmAlgorithm.DataStochastic ? new float[run.SampleLength] : [];
    }

    protected override OriginalLimiter Limiter => _limiter;

    public override bool NeedsNoise(int call) => _settings.Algorithm == DpmAlgorithm.DataStochastic;

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        if (_settings.Algorithm == DpmAlgorithm.Noise) ToLimitedNoise(Level(call), prediction, sample, _outputs.Push());
        else ToOriginal(Level(call), prediction, sample, _outputs.Push());

        var c = DpmCoefficients.Between(Level(call), Level(call + 1), _settings.Algorithm);
        double h = Level(call + 1).Lambda - Level(call).Lambda;
        sample.Scale(c.OfSample);
        sample.Add(c.D0, _outputs[0]);
        int order = OrderAt(call);
        if (order == 2)
        {
            double a = (_settings.Midpoint ? c.D1Midpoint : c.D1) / Ratio(call, 0, h);
            sample.Add(a, _outputs[0]);
            sample.Add(-a, _outputs[1]);
        }
        else if (order == 3)
        {
            (double r0, double r1) = (Ratio(call, 0, h), Ratio(call, 1, h));
            double bend = (c.D1 * r0 + c.D2) / (r0 + r1);
            (double a, double b) = ((c.D1 + bend) / r0, -bend / r1);
            sample.Add(a, _outputs[0]);
            sample.Add(b - a, _outputs[1]);
            sample.Add(-b, _outputs[2]);
        }

        if (!NeedsNoise(call)) return;
        noise.FillNormal(_noise);
        sample.Add(c.Noise, _noise);
    }

    private int OrderAt(int call)
    {
        int left = Timesteps.Count - 1 - call;
        int order = Math.Min(_settings.Order, CallsMade + 1);

        // A final σ that is the last call's leaves nothing to step over, and nothing to divide by.
        if (left == 0 && (_firstOrderFinal || Level(call + 1) == Level(call))) return 1;
        return left == 1 && _lowerOrderFinal ? Math.Min(order, 2) : order;
    }

    private double Ratio(int call, int age, double h) => (Level(call - age).Lambda - Level(call - age - 1).Lambda) / h;

    private static SigmaPlan Plan(SchedulerConfig config, SamplingRun run, DpmSettings settings)
    {
        NoiseSchedule forward = NoiseSchedule.FromConfig(config);
        var schedule = new SigmaSchedule(forward);
        int last = DpmSettings.LastTimestep(config, forward);
        TimestepSpacing spacing = TimestepGrid.ReadSpacing(config, "linspace");
        float[] grid = TimestepGrid.WithoutLast(spacing, config.TrainSteps, last, run.Steps, TimestepGrid.ReadOffset(config));

        // diffusers cuts the timesteps of spread σ off with the cosine schedule, and rounds them with the others.
        bool cosine = config.HasText("beta_schedule", "squaredcos_cap_v2");
        return SigmaPlan.Preserving(config, run, schedule, grid, settings.EndsClean, knowsLuLambdas: true, truncates: cosine);
    }
}

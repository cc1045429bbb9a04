using LowBitDiffusion.Randomness;

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// Pseudo numerical methods on the diffusion manifold: Liu, Ren, Lin and Zhao (2022). A slope ε' carries the sample from ᾱ to ᾱ' by the transfer of equation
/// 11,
/// <code>
/// φ(x, ε', t → t') = √(ᾱ'/ᾱ) x − (ᾱ' − ᾱ) ε' / (ᾱ √(1 − ᾱ') + √(ᾱ (1 − ᾱ) ᾱ'))
/// </code>
/// and the two methods differ in how they find it:
/// <list type="bullet">
/// <item>Runge-Kutta (PRK), the first three steps unless <c>skip_prk_steps</c>: four calls, at t, twice half way, and at t', weighed 1/6, 1/3, 1/3, 1/6.</item>
/// <item>Linear multistep (PLMS): Adams-Bashforth of order 4. Without PRK its orders build up, and the second timestep is called twice: the first guess over
/// the whole first step is replaced
/// by one with the mean of both slopes.</item>
/// </list>
/// It never clips. A velocity is turned into ε after the slopes are combined, with the sample of the moment, as diffusers does.
/// </summary>
internal sealed class PndmScheduler : Scheduler
{
    private const int RungeKuttaSteps = 3;
    private const int CallsPerRungeKuttaStep = 4;

    private static readonly double[][] AdamsBashforth =
    [
        [1],
        [3 / 2.0, -1 / 2.0],
        [23 / 12.0, -16 / 12.0, 5 / 12.0],
        [55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0],
    ];

    private readonly DiscretePlan _plan;
    private readonly int _stride;
    private readonly int _rungeKuttaCalls;
    private readonly bool _finalIsClean;
    private readonly History _slopes;
    private readonly float[] _start;
    private readonly float[] _combined;

    public PndmScheduler(SchedulerConfig config, SamplingRun run)
        : this(config, run, DiscretePlan.Read(config, NoiseSchedule.FromConfig(config), Calls(config, run)))
    {
    }

    private PndmScheduler(SchedulerConfig config, SamplingRun run, DiscretePlan plan) : base(run, plan)
    {
        if (Prediction == PredictionType.Sample) throw config.Error("prediction_type", "expected one of epsilon, v_prediction, found \"sample\"");
        _plan = plan;
        _stride = config.TrainSteps / run.Steps;
        _rungeKuttaCalls = SkipsRungeKutta(config) ? 0 : RungeKuttaSteps * CallsPerRungeKuttaStep;
        _finalIsClean = config.Flag("set_alpha_to_one", false);
        _slopes = new History(AdamsBashforth.Length, run.SampleLength);
        (_start, _combined) = (new float[run.SampleLength], new float[run.SampleLength]);
    }

    public override bool CanBeginAt(int call) => call < _rungeKuttaCalls ? call % CallsPerRungeKuttaStep == 0 : !RepeatsFirstStep(call);

    protected override void Advance(int call, ReadOnlySpan<float> prediction, Span<float> sample, INoiseGenerator noise)
    {
        if (call < _rungeKuttaCalls) AdvanceRungeKutta(call, prediction, sample);
        else AdvanceMultistep(call, prediction, sample);
    }

    // The four calls of a step lie at t, t − h/2, t − h/2, t − h; each leads from the start of the step to where the next one looks.
    private void AdvanceRungeKutta(int call, ReadOnlySpan<float> slope, Span<float> sample)
    {
        int part = call % CallsPerRungeKuttaStep;
        int half = _stride / 2;
        int from = (int)Timesteps[call - part];
        int to = (int)Timesteps[call] - (part % 2 == 0 ? half : 0);
        if (part == 0)
        {
            slope.CopyTo(_slopes.Push());
            sample.CopyTo(_start);
            _combined.AsSpan().Clear();
        }

        _combined.AsSpan().Add(part is 0 or 3 ? 1 / 6.0 : 1 / 3.0, slope);
        _start.CopyTo(sample);
        Transfer(sample, part == 3 ? _combined : slope, from, to);
    }

    private void AdvanceMultistep(int call, ReadOnlySpan<float> slope, Span<float> sample)
    {
        int from = (int)Timesteps[call];
        int to = from - _stride;
        bool repeats = RepeatsFirstStep(call);
        if (repeats) (from, to) = (from + _stride, from);
        else slope.CopyTo(_slopes.Push());

        if (CallsMade == 0) sample.CopyTo(_start);
        if (repeats)
        {
            _start.CopyTo(sample);
            SampleMath.Combine(_combined, 0.5, slope, 0.5, _slopes[0]);
        }
        else
        {
            double[] weights = AdamsBashforth[_slopes.Count - 1];
            _combined.AsSpan().Clear();
            for (int age = 0; age < weights.Length; age++) _combined.AsSpan().Add(weights[age], _slopes[age]);
        }

        Transfer(sample, _combined, from, to);
    }

    private bool RepeatsFirstStep(int call) => _rungeKuttaCalls == 0 && call == 1;

    private void Transfer(Span<float> sample, ReadOnlySpan<float> slope, int from, int to)
    {
        NoiseLevel level = _plan.LevelOrFinal(from, _finalIsClean);
        NoiseLevel next = _plan.LevelOrFinal(to, _finalIsClean);
        (double alpha, double nextAlpha) = (level.Alpha * level.Alpha, next.Alpha * next.Alpha);
        double ofNoise = -(nextAlpha - alpha) / (alpha * next.Sigma + level.Alpha * level.Sigma * next.Alpha);
        (double ofSample, double ofSlope) = level.Noise(Prediction);
        SampleMath.Combine(sample, next.Alpha / level.Alpha + ofNoise * ofSample, sample, ofNoise * ofSlope, slope);
    }

    private static bool SkipsRungeKutta(SchedulerConfig config) => config.Flag("skip_prk_steps", false);

    // n = 10 with PRK:  900 850 850 800 | 800 750 750 700 | 700 650 650 600 | 600 500 400 … 0          without:  900 800 800 700 … 0
    private static float[] Calls(SchedulerConfig config, SamplingRun run)
    {
        config.RefuseFlags("rescale_betas_zero_snr");
        float[] steps = TimestepGrid.Standard(config, run);
        if (SkipsRungeKutta(config)) return run.Steps == 1 ? steps : [steps[0], steps[1], .. steps[1..]];
        if (run.Steps <= RungeKuttaSteps)
            throw new InvalidRequestException(
                "steps",
                $"the scheduler begins with {RungeKuttaSteps} Runge-Kutta steps, expected at least {RungeKuttaSteps + 1}, found {run.Steps}");
        int half = config.TrainSteps / run.Steps / 2;
        return [.. steps.Take(RungeKuttaSteps).SelectMany((t, i) => new[] { t, t - half, t - half, steps[i + 1] }), .. steps[RungeKuttaSteps..]];
    }
}

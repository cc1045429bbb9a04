namespace LowBitDiffusion.Schedulers;

/// <summary>
/// What Euler, Euler ancestral, Heun and LMS share: they integrate <c>dx/dσ = (x − x₀)/σ = ε</c> of the variance exploding process, the model sees <c>x / √(σ²
/// + 1)</c>, and the run begins
/// at the largest σ. With leading spacing that σ is not the largest of training, and diffusers begins at <c>√(σ² + 1)</c>.
/// </summary>
internal abstract class ExplodingScheduler : Scheduler
{
    protected ExplodingScheduler(SchedulerConfig config, SamplingRun run, CallPlan plan) : base(run, plan)
    {
        bool leading = TimestepGrid.ReadSpacing(config, "linspace") == TimestepSpacing.Leading;
        InitialNoiseSigma = (float)(leading ? Level(0).Norm : Level(0).Sigma);
    }

    public sealed override float InitialNoiseSigma { get; }

    protected sealed override bool ScalesModelInput => true;
}

namespace LowBitDiffusion.Execution.Planning;

/// <summary>Tells how far a pass through a whole plan is: the share of its multiplications that is done.</summary>
internal sealed class PlanProgress(ExecutionPlan plan, IProgress<double> progress)
{
    private readonly long _all = Math.Max(1, plan.Steps.Values.SelectMany(steps => steps).Sum(step => step.Macs));
    private long _done;

    /// <summary>A step is done.</summary>
    public void Add(PlanStep step)
    {
        if (step.Macs == 0) return;
        _done += step.Macs;
        progress.Report((double)_done / _all);
    }
}

namespace LowBitDiffusion.Schedulers;

/// <summary>
/// How the timesteps of a run are spread over those of training (table 2 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023).
/// </summary>
internal enum TimestepSpacing
{
    /// <summary>From 0 upwards in whole steps, then offset; never reaches N−1.</summary>
    Leading,

    /// <summary>From N−1 downwards.</summary>
    Trailing,

    /// <summary>Evenly from N−1 to 0, both included.</summary>
    Linspace,
}

/// <summary>Timesteps of a run, descending. N are the training steps, n those of the run; roundings are half to even, as numpy's.</summary>
internal static class TimestepGrid
{
    /// <summary>The <c>timestep_spacing</c> of a configuration.</summary>
    public static TimestepSpacing ReadSpacing(SchedulerConfig config, string absent) => config.Choice(
        "timestep_spacing",
        absent,
        ("leading", TimestepSpacing.Leading),
        ("trailing", TimestepSpacing.Trailing),
        ("linspace", TimestepSpacing.Linspace));

    /// <summary>The <c>steps_offset</c> of a configuration.</summary>
    public static int ReadOffset(SchedulerConfig config, int absent = 0) => config.Integer("steps_offset", absent, 0, config.TrainSteps - 1);

    /// <summary>The standard grid of a configuration.</summary>
    public static float[] Standard(SchedulerConfig config, SamplingRun run, string defaultSpacing = "leading", bool fractional = false) =>
        Standard(ReadSpacing(config, defaultSpacing), config.TrainSteps, run.Steps, ReadOffset(config), fractional);

    /// <summary>
    /// <code>
    /// leading:  (N div n)·i + offset, i = n−1 … 0        trailing:  round(N − i·N/n) − 1, i = 0 … n−1        linspace:  (N − 1)·i/(n − 1), i = n−1 … 0
    /// </code>
    /// </summary>
    /// <param name="spacing">The spacing.</param>
    /// <param name="trainSteps">N.</param>
    /// <param name="steps">n.</param>
    /// <param name="offset">Added by leading spacing.</param>
    /// <param name="fractional">Leaves linspace unrounded, as the samplers in σ do.</param>
    public static float[] Standard(TimestepSpacing spacing, int trainSteps, int steps, int offset, bool fractional = false) => spacing switch
    {
        TimestepSpacing.Leading => Descending(steps, i => trainSteps / steps * i + offset),
        TimestepSpacing.Trailing => Trailing(trainSteps, (double)trainSteps / steps, steps),
        _ => Descending(steps, i => fractional ? Linspace(trainSteps - 1, steps, i) : Math.Round(Linspace(trainSteps - 1, steps, i))),
    };

    /// <summary>
    /// The grid of DPM-Solver and UniPC, which leaves out the last of n+1 points because the solver steps on to a final σ by itself.
    /// </summary>
    /// <param name="spacing">The spacing.</param>
    /// <param name="trainSteps">N.</param>
    /// <param name="lastTimestep">N, or less where the noisiest timesteps are clipped.</param>
    /// <param name="steps">n.</param>
    /// <param name="offset">Added by leading spacing.</param>
    public static float[] WithoutLast(TimestepSpacing spacing, int trainSteps, int lastTimestep, int steps, int offset) => spacing switch
    {
        TimestepSpacing.Leading => Descending(steps, i => lastTimestep / (steps + 1) * (i + 1) + offset),
        TimestepSpacing.Trailing => Trailing(lastTimestep, (double)trainSteps / steps, steps),
        _ => Descending(steps, i => Math.Round(Linspace(lastTimestep - 1, steps + 1, i + 1))),
    };

    private static float[] Trailing(int from, double step, int steps)
    {
        var timesteps = new float[Math.Min(steps, (int)Math.Ceiling(from / step))];
        for (int i = 0; i < timesteps.Length; i++) timesteps[i] = (float)Math.Max(Math.Round(from - i * step) - 1, 0);
        return timesteps;
    }

    private static float[] Descending(int count, Func<int, double> ascending)
    {
        var timesteps = new float[count];
        for (int i = 0; i < count; i++) timesteps[count - 1 - i] = (float)ascending(i);
        return timesteps;
    }

    private static double Linspace(double end, int count, int i) => count == 1 ? 0 : i == count - 1 ? end : i * (end / (count - 1));
}

namespace LowBitDiffusion.Schedulers;

/// <summary>Makes the scheduler a configuration names.</summary>
public static class SchedulerFactory
{
    private static readonly (string Name, Func<SchedulerConfig, SamplingRun, IScheduler> Create)[] Kinds =
    [
        ("DDIMScheduler", (config, run) => new DdimScheduler(config, run)),
        ("DDPMScheduler", (config, run) => new DdpmScheduler(config, run)),
        ("DPMSolverMultistepScheduler", (config, run) => new DpmSolverMultistepScheduler(config, run)),
        ("DPMSolverSinglestepScheduler", (config, run) => new DpmSolverSinglestepScheduler(config, run)),
        ("EulerAncestralDiscreteScheduler", (config, run) => new EulerAncestralScheduler(config, run)),
        ("EulerDiscreteScheduler", (config, run) => new EulerScheduler(config, run)),
        ("FlowMatchEulerDiscreteScheduler", (config, run) => new FlowMatchEulerScheduler(config, run)),
        ("HeunDiscreteScheduler", (config, run) => new HeunScheduler(config, run)),
        ("LCMScheduler", (config, run) => new LcmScheduler(config, run)),
        ("LMSDiscreteScheduler", (config, run) => new LmsScheduler(config, run)),
        ("PNDMScheduler", (config, run) => new PndmScheduler(config, run)),
        ("UniPCMultistepScheduler", (config, run) => new UniPcScheduler(config, run)),
    ];

    /// <summary>The values of <c>_class_name</c> there are schedulers for.</summary>
    public static IReadOnlyList<string> Supported { get; } = [.. Kinds.Select(kind => kind.Name)];

    /// <summary>Creates a scheduler for one run.</summary>
    /// <param name="config">The model's configuration.</param>
    /// <param name="run">The request.</param>
    /// <exception cref="ModelFormatException">The configuration names an unknown scheduler, or holds a value that is unknown, out of range or not
    /// supported.</exception>
    /// <exception cref="InvalidRequestException">Steps, batch or η are out of range, or a value the scheduler requires is missing.</exception>
    public static IScheduler Create(SchedulerConfig config, SamplingRun run)
    {
        if (run.Steps < 1 || run.Steps > config.TrainSteps)
            throw new InvalidRequestException("steps", $"expected 1 to {config.TrainSteps}, the model's training steps, found {run.Steps}");
        if (run.Batch < 1) throw new InvalidRequestException("batch", $"expected at least one image, found {run.Batch}");
        if (run.SampleLength < 1 || run.SampleLength % run.Batch != 0)
            throw new InvalidRequestException("sample", $"expected a positive multiple of {run.Batch} images, found {run.SampleLength} values");
        if (!(run.Eta is >= 0 and <= 1)) throw new InvalidRequestException("eta", $"expected 0 to 1, found {run.Eta}");
        foreach ((string name, Func<SchedulerConfig, SamplingRun, IScheduler> create) in Kinds)
        {
            if (name == config.ClassName) return create(config, run);
        }

        throw config.Error("_class_name", $"expected one of {string.Join(", ", Supported)}, found \"{config.ClassName}\"");
    }
}

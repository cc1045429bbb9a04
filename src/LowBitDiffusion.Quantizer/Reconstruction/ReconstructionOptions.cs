namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>How units are learned. The schedule of rounding is BRECQ's as Q-Diffusion and TFMQ-DM have it; a rate of zero leaves its variables as they are.</summary>
public sealed record ReconstructionOptions
{
    /// <summary>Updates of each unit.</summary>
    public int Iterations { get; init; } = 20_000;

    /// <summary>Learning rate of AdaRound's α, constant (1e-3 in the papers).</summary>
    public double RoundingRate { get; init; }

    /// <summary>λ, weight of AdaRound's regulariser.</summary>
    public double RegulariserWeight { get; init; } = 0.01;

    /// <summary>Share of the iterations before the regulariser sets in.</summary>
    public double Warmup { get; init; } = 0.2;

    /// <summary>First exponent β of the regulariser.</summary>
    public double FirstExponent { get; init; } = 20;

    /// <summary>Last exponent β.</summary>
    public double LastExponent { get; init; } = 2;

    /// <summary>Learning rate of float weights under straight-through rounding, falling to zero as a cosine (as all that follow).</summary>
    public double WeightRate { get; init; }

    /// <summary>Whether that rate is multiplied by the mean of the weight's steps, so that the weights of all layers move alike within their grids.</summary>
    public bool RelativeWeightRate { get; init; }

    /// <summary>Learning rate of the weights' steps.</summary>
    public double WeightStepRate { get; init; }

    /// <summary>Learning rate of low-rank adapters.</summary>
    public double AdapterRate { get; init; }

    /// <summary>Learning rate of the inputs' steps (4e-5 in Q-Diffusion).</summary>
    public double InputStepRate { get; init; }

    /// <summary>Learning rate of the inputs' zero points.</summary>
    public double InputZeroPointRate { get; init; }

    /// <summary>Whether the rates of steps are multiplied by the mean of the steps they belong to, so that layers of any range move alike.</summary>
    public bool RelativeStepRates { get; init; }

    /// <summary>Probability that an element of a layer's input is quantized while learning (QDrop has 0.5); 1 always.</summary>
    public double QuantizationKeep { get; init; } = 1;

    /// <summary>Probability that an element of the unit's input comes from the quantized network and not from the float one; 1 always.</summary>
    public double QuantizedInputShare { get; init; } = 1;

    /// <summary>Seed of batches and omissions.</summary>
    public ulong Seed { get; init; }

    /// <summary>The rates that are not zero, by name in snake case; <c>relative_</c> where they count in steps.</summary>
    public IReadOnlyDictionary<string, double> Rates => new (string Name, double Value)[]
    {
        ("rounding_rate", RoundingRate), (Named("weight_rate", RelativeWeightRate), WeightRate), (Named("weight_step_rate", RelativeStepRates), WeightStepRate), ("adapter_rate", AdapterRate),
        (Named("input_step_rate", RelativeStepRates), InputStepRate), ("input_zero_point_rate", InputZeroPointRate),
    }.Where(rate => rate.Value > 0).ToDictionary(rate => rate.Name, rate => rate.Value);

    private static string Named(string rate, bool relative) => relative ? $"relative_{rate}" : rate;

    /// <summary>Bytes of inputs and targets that are kept at once; where those of all samples would take more, the first samples are used.</summary>
    public long MemoryLimit { get; init; } = 3L << 29;

    /// <summary>Iterations between two savings of the state.</summary>
    public int SaveEvery { get; init; } = 500;

    /// <summary>Iterations between two reports of progress.</summary>
    public int ReportEvery { get; init; } = 20;
}

/// <summary>Where a reconstruction is.</summary>
/// <param name="Unit">Name of the unit.</param>
/// <param name="UnitIndex">Its number, from 0.</param>
/// <param name="Units">How many there are.</param>
/// <param name="Iteration">Updates made of this unit.</param>
/// <param name="Iterations">Updates it will get.</param>
/// <param name="Loss">Loss of the last batch, without the regulariser.</param>
/// <param name="TimeLeft">Estimate for all that is left, from the work done so far.</param>
public sealed record ReconstructionProgress(string Unit, int UnitIndex, int Units, int Iteration, int Iterations, double Loss, TimeSpan TimeLeft);

/// <summary>What became of a unit.</summary>
/// <param name="Unit">Its name.</param>
/// <param name="Kind">What it is.</param>
/// <param name="SqnrBefore">Signal to quantization noise of its outputs with weights rounded to nearest, in decibels, on the first batches of the calibration samples.</param>
/// <param name="SqnrAfter">The same once learned.</param>
/// <param name="Losses">Mean loss, without the regulariser, of each stretch of <see cref="ReconstructionOptions.ReportEvery"/> iterations.</param>
public sealed record UnitResult(string Unit, UnitKind Kind, double SqnrBefore, double SqnrAfter, IReadOnlyList<float> Losses);

/// <summary>Learning went wrong: a loss or a learned number is not finite. The state file holds the last good state.</summary>
public sealed class TrainingDivergedException : LowBitDiffusionException
{
    /// <summary>Creates the error.</summary>
    /// <param name="unit">The unit that was learned.</param>
    /// <param name="iteration">Updates made of it.</param>
    /// <param name="problem">What is not finite.</param>
    public TrainingDivergedException(string unit, int iteration, string problem) : base($"{unit}: {problem} at iteration {iteration}") => (Unit, Iteration) = (unit, iteration);

    /// <summary>The unit that was learned.</summary>
    public string Unit { get; }

    /// <summary>Updates made of it.</summary>
    public int Iteration { get; }
}

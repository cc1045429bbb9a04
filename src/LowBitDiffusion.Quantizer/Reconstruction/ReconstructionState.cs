using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Reconstruction;

/// <summary>
/// All that a reconstruction needs to go on as if it had never stopped, in a safetensors file: learned values of the finished units and the present one, its optimizers' moments, counters. Random
/// numbers are functions of seed, unit and iteration, so the counters are their state too.
/// </summary>
internal sealed class ReconstructionState
{
    private const string Format = "lowbit-reconstruction-1";

    private readonly IReadOnlyList<UnitVariables> _units;
    private readonly string _fingerprint;

    /// <param name="units">What each unit learns, at its initial values.</param>
    /// <param name="setting">A description of everything else that a resumed run must share.</param>
    public ReconstructionState(IReadOnlyList<UnitVariables> units, string setting)
    {
        _units = units;
        _fingerprint = TrainingState.Fingerprint(setting, units.SelectMany(unit => unit.Learned));
        Sqnr = new float[2 * units.Count];
        Losses = [.. units.Select(_ => new List<float>())];
    }

    /// <summary>The unit that is learned.</summary>
    public int Unit { get; set; }

    /// <summary>Updates made of it.</summary>
    public int Iteration { get; set; }

    /// <summary>Sum of losses since the last report.</summary>
    public double LossSum { get; set; }

    /// <summary>Before and after of every unit.</summary>
    public float[] Sqnr { get; private set; }

    /// <summary>Loss curve of every unit.</summary>
    public IReadOnlyList<List<float>> Losses { get; }

    /// <summary>Writes the state; the old file stays until the new one is complete.</summary>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public void Save(string path)
    {
        TrainingState state = new TrainingState(Format, _fingerprint).Counter("unit", Unit).Counter("iteration", Iteration).Counter("loss_sum", LossSum).Numbers("sqnr", Sqnr);
        for (int unit = 0; unit <= Unit && unit < _units.Count; unit++)
        {
            state.Numbers($"losses.{unit}", [.. Losses[unit]]);
            foreach (LearnedVariable learned in _units[unit].Learned) state.Learned(learned, optimizer: unit == Unit && Iteration > 0);
        }

        state.Save(path);
    }

    /// <summary>Takes up a saved state.</summary>
    /// <exception cref="ModelFormatException">The file is damaged, or belongs to another model, calibration set or settings.</exception>
    public void Load(string path)
    {
        using TrainingState.Reader state = TrainingState.Open(path, Format, _fingerprint);
        Unit = (int)state.Counter("unit", _units.Count);
        Iteration = (int)state.Counter("iteration", int.MaxValue);
        LossSum = state.Counter("loss_sum", double.MaxValue);
        Sqnr = state.Numbers("sqnr", Sqnr.Length);
        for (int unit = 0; unit <= Unit && unit < _units.Count; unit++)
        {
            Losses[unit].AddRange(state.Numbers($"losses.{unit}"));
            foreach (LearnedVariable learned in _units[unit].Learned) state.Learned(learned, unit < Unit ? 0 : Iteration);
        }
    }
}

using LowBitDiffusion.Quantizer.Training;

namespace LowBitDiffusion.Quantizer.Distillation;

/// <summary>
/// All that a distillation needs to go on as if it had never stopped. A trajectory's noise is a function of seed and epoch, so that its position is known from the number of updates: the teacher draws
/// it again up to there.
/// </summary>
/// <param name="learned">What is learned, at its initial values.</param>
/// <param name="settings">A description of everything else that a resumed run must share.</param>
internal sealed class DistillationState(IReadOnlyList<LearnedVariable> learned, string settings)
{
    private const string Format = "lowbit-distillation-1";

    private readonly string _fingerprint = TrainingState.Fingerprint(settings, learned);

    /// <summary>Updates made.</summary>
    public int Iteration => Losses.Count;

    /// <summary>Loss of every update.</summary>
    public List<float> Losses { get; } = [];

    /// <summary>Quality at each timestep before the first update.</summary>
    public float[] SqnrBefore { get; set; } = [];

    /// <summary>Writes the state; the old file stays until the new one is complete.</summary>
    /// <exception cref="OutputException">The file cannot be written.</exception>
    public void Save(string path)
    {
        TrainingState state = new TrainingState(Format, _fingerprint).Counter("iteration", Iteration).Numbers("losses", [.. Losses]).Numbers("sqnr_before", SqnrBefore);
        foreach (LearnedVariable one in learned) state.Learned(one, optimizer: Iteration > 0);
        state.Save(path);
    }

    /// <summary>Takes up a saved state.</summary>
    /// <exception cref="ModelFormatException">The file is damaged, or belongs to another model or settings.</exception>
    public void Load(string path)
    {
        using TrainingState.Reader state = TrainingState.Open(path, Format, _fingerprint);
        int iteration = (int)state.Counter("iteration", int.MaxValue);
        SqnrBefore = state.Numbers("sqnr_before");
        Losses.AddRange(iteration == 0 ? [] : state.Numbers("losses", iteration));
        foreach (LearnedVariable one in learned) state.Learned(one, Iteration);
    }
}

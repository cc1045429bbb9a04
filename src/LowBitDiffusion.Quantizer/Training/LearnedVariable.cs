using LowBitDiffusion.Quantizer.Autograd;

namespace LowBitDiffusion.Quantizer.Training;

/// <summary>The learning rate of an update (<see cref="Schedules"/>).</summary>
/// <param name="start">Rate at the start.</param>
/// <param name="step">Updates made.</param>
/// <param name="total">Updates there will be.</param>
internal delegate double RateSchedule(double start, int step, int total);

/// <summary>A variable with its optimizer.</summary>
/// <param name="variable">The variable.</param>
/// <param name="rate">Learning rate at the start.</param>
/// <param name="schedule">How it falls.</param>
/// <param name="options">The optimizer's settings; null for torch's Adam.</param>
internal sealed class LearnedVariable(Variable variable, double rate, RateSchedule schedule, AdamOptions? options = null)
{
    private Adam? _optimizer;

    public Variable Variable { get; } = variable;

    /// <summary>Learning rate at the start.</summary>
    public double Rate { get; } = rate;

    /// <summary>Made when its turn comes.</summary>
    public Adam Optimizer => _optimizer ??= new Adam(Variable.Value.Length, options);

    public void Step(int iteration, int iterations)
    {
        Optimizer.Step(Variable.Value, Variable.Gradient, schedule(Rate, iteration, iterations));
        Variable.Limit();
    }

    /// <summary>Forgets moments and gradient, which take three times the variable's memory.</summary>
    public void Rest()
    {
        _optimizer = null;
        Variable.Forget();
    }

    /// <summary>Whether a number of the variable is not finite.</summary>
    public bool Diverged => !Variable.Value.All(float.IsFinite);
}

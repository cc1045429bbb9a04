using LowBitDiffusion.Quantizer.Autograd;

namespace LowBitDiffusion.Quantizer.Training;

/// <summary>Limits the size of an update.</summary>
public static class GradientClipping
{
    /// <summary>Scales all gradients by one factor so that their joint Euclidean norm is at most <paramref name="limit"/> (torch's <c>clip_grad_norm_</c>, without its epsilon).</summary>
    /// <param name="variables">Variables whose gradients are scaled.</param>
    /// <param name="limit">Largest norm, positive.</param>
    /// <returns>The norm before.</returns>
    public static double ByNorm(IReadOnlyCollection<Variable> variables, double limit)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(limit);
        double squares = 0;
        foreach (Variable variable in variables)
        {
            foreach (float gradient in variable.Gradient) squares += (double)gradient * gradient;
        }

        double norm = Math.Sqrt(squares);
        if (!(norm > limit)) return norm;
        foreach (Variable variable in variables) Vectors.Map(variable.Gradient, default, default, variable.Gradient, new Line((float)(limit / norm), 0));
        return norm;
    }
}

namespace LowBitDiffusion.Quantizer.Autograd;

/// <summary>Numbers that are learned, with the gradient that backward passes add up.</summary>
/// <param name="name">Name, unique within a <see cref="TrainingModel"/>: the parameter's, or the module's with what it is (<c>conv_in.alpha</c>).</param>
/// <param name="value">Initial values; kept, and changed in place by optimizers.</param>
public sealed class Variable(string name, float[] value)
{
    private float[]? _gradient;

    /// <summary>Name.</summary>
    public string Name { get; } = name;

    /// <summary>The numbers.</summary>
    public float[] Value { get; } = value;

    /// <summary>Sum of the gradients since <see cref="ClearGradient"/>, in the layout of <see cref="Value"/>.</summary>
    public float[] Gradient => _gradient ??= new float[Value.Length];

    /// <summary>Whether backward passes compute its gradient.</summary>
    public bool Trainable { get; set; } = true;

    /// <summary>Least value that <see cref="Limit"/> leaves.</summary>
    public float Minimum { get; init; } = float.NegativeInfinity;

    /// <summary>Greatest value that <see cref="Limit"/> leaves.</summary>
    public float Maximum { get; init; } = float.PositiveInfinity;

    /// <summary>Sets the gradient to zero.</summary>
    public void ClearGradient()
    {
        if (_gradient is not null) Array.Clear(_gradient);
    }

    /// <summary>Frees the gradient.</summary>
    internal void Forget() => _gradient = null;

    /// <summary>Brings values back into their range after an optimizer's step: a quantizer's step must stay positive, its zero point a code.</summary>
    public void Limit()
    {
        if (Minimum == float.NegativeInfinity && Maximum == float.PositiveInfinity) return;
        for (int i = 0; i < Value.Length; i++) Value[i] = Math.Clamp(Value[i], Minimum, Maximum);
    }

    internal void AddGradient(ReadOnlySpan<float> gradient)
    {
        if (gradient.Length != Value.Length) throw new ArgumentException($"'{Name}' has {Value.Length} elements, found a gradient of {gradient.Length}");
        Vectors.Map(Gradient, gradient, default, Gradient, new Sum());
    }
}

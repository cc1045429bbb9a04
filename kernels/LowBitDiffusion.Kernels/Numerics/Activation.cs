namespace LowBitDiffusion.Kernels.Numerics;

/// <summary>Functions of one number that networks put between layers; the arithmetic is in <see cref="Functions"/>.</summary>
public enum Activation
{
    /// <summary><c>x</c>.</summary>
    None,

    /// <summary><c>x·sigmoid(x)</c>.</summary>
    Silu,

    /// <summary><c>½x(1 + erf(x/√2))</c>.</summary>
    Gelu,

    /// <summary><c>½x(1 + tanh(√(2/π)(x + 0.044715x³)))</c>.</summary>
    GeluTanh,

    /// <summary><c>x·sigmoid(1.702x)</c>.</summary>
    QuickGelu,
}

using System.Globalization;

namespace LowBitDiffusion.Kernels.Assembling;

/// <summary>A general register, by its number in machine code.</summary>
internal enum Gpr : byte
{
    Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi, R8, R9, R10, R11, R12, R13, R14, R15,
}

/// <summary>A 512-bit register, 0 … 31.</summary>
internal readonly record struct Zmm(int Number)
{
    public override string ToString() => $"zmm{Number}";
}

/// <summary>A mask register k1 … k7; the default, k0, means that nothing is masked.</summary>
internal readonly record struct Mask(int Number)
{
    public override string ToString() => $"k{Number}";
}

/// <summary>Bytes at <c>Base + Index + Displacement</c>.</summary>
internal readonly record struct Address(Gpr Base, Gpr? Index, int Displacement)
{
    internal Address(Gpr @base, int displacement = 0)
        : this(@base, null, displacement)
    {
    }

    public override string ToString()
    {
        string index = Index is { } register ? $"+{register.Name()}" : "";
        string displacement = Displacement == 0 ? "" : Displacement.ToString("+0;-0", CultureInfo.InvariantCulture);
        return $"[{Base.Name()}{index}{displacement}]";
    }
}

/// <summary>A place in the code that jumps lead to.</summary>
internal readonly record struct Label(int Number)
{
    public override string ToString() => $"L{Number}";
}

/// <summary>When a jump is taken, by its number in machine code; less and not less compare signed numbers.</summary>
internal enum Condition : byte
{
    Equal = 4,
    NotEqual = 5,
    Less = 12,
    NotLess = 13,
}

/// <summary>Names of general registers.</summary>
internal static class GprNames
{
    /// <summary>All 64 bits.</summary>
    internal static string Name(this Gpr register) => register.ToString().ToLowerInvariant();

    /// <summary>The low 32 bits.</summary>
    internal static string Name32(this Gpr register) => register < Gpr.R8 ? $"e{register.Name()[1..]}" : $"{register.Name()}d";
}

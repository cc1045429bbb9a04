namespace LowBitDiffusion.Kernels.Assembling;

/// <summary>
/// How a routine with one pointer as argument is called, and what it must leave as it was:
/// <code>
///              argument   general registers to keep          vector registers to keep
///   System V   rdi        rbx rbp r12–r15                    none
///   Windows    rcx        rbx rbp r12–r15 rdi rsi            low halves of xmm6–xmm15
/// </code>
/// </summary>
internal sealed class CallingConvention
{
    private const int FirstKeptVector = 6, KeptVectors = 10;

    private readonly Gpr _argument;
    private readonly Gpr[] _kept;
    private readonly bool _keepsVectors;

    private CallingConvention(Gpr argument, Gpr[] kept, bool keepsVectors)
    {
        _argument = argument;
        _kept = kept;
        _keepsVectors = keepsVectors;
    }

    /// <summary>Linux and macOS.</summary>
    internal static CallingConvention SystemV { get; } = new(Gpr.Rdi, [Gpr.Rbx, Gpr.Rbp, Gpr.R12, Gpr.R13, Gpr.R14, Gpr.R15], keepsVectors: false);

    /// <summary>Windows.</summary>
    internal static CallingConvention Windows { get; } =
        new(Gpr.Rcx, [Gpr.Rbx, Gpr.Rbp, Gpr.Rdi, Gpr.Rsi, Gpr.R12, Gpr.R13, Gpr.R14, Gpr.R15], keepsVectors: true);

    /// <summary>That of this process.</summary>
    internal static CallingConvention Current => OperatingSystem.IsWindows() ? Windows : SystemV;

    /// <summary>Saves what must be kept and brings the argument into <paramref name="argument"/>.</summary>
    internal void WriteEntry(Assembler code, Gpr argument)
    {
        foreach (Gpr register in _kept) code.Push(register);
        if (_keepsVectors)
        {
            code.Add(Gpr.Rsp, -16 * KeptVectors);
            for (int i = 0; i < KeptVectors; i++) code.Vmovups128(new Address(Gpr.Rsp, i * 16), new Zmm(FirstKeptVector + i));
        }

        code.Mov(argument, _argument);
    }

    /// <summary>Restores what was saved and returns.</summary>
    internal void WriteExit(Assembler code)
    {
        code.Vzeroupper();
        if (_keepsVectors)
        {
            for (int i = 0; i < KeptVectors; i++) code.Vmovups128(new Zmm(FirstKeptVector + i), new Address(Gpr.Rsp, i * 16));
            code.Add(Gpr.Rsp, 16 * KeptVectors);
        }

        foreach (Gpr register in _kept.Reverse()) code.Pop(register);
        code.Ret();
    }
}

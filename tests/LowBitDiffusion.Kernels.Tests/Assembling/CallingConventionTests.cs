using Iced.Intel;
using LowBitDiffusion.Kernels.Assembling;
using LowBitDiffusion.Kernels.Dispatch;
using static Iced.Intel.AssemblerRegisters;
using Assembler = LowBitDiffusion.Kernels.Assembling.Assembler;

namespace LowBitDiffusion.Kernels.Tests.Assembling;

/// <summary>
/// A routine that uses every register gives back those that its convention names. A bridge fills all registers with marks, calls the routine as its
/// convention wants it, and notes what it finds afterwards; so the Windows convention is tested on every system.
/// </summary>
[Category("Kernels")]
[Platform("Linux")]
public sealed unsafe class CallingConventionTests
{
    private static readonly AssemblerRegister64[] s_general = [rbx, rbp, rdi, rsi, r12, r13, r14, r15];

    private static readonly AssemblerRegisterXMM[] s_vectors = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    [TestCase(false)]
    [TestCase(true)]
    public void Registers_come_back(bool windows)
    {
        if (!CpuFeatures.Detect().Avx512BW) Assert.Ignore("the routine needs AVX-512");
        using ExecutableMemory routine = new(UsesEverything(windows ? CallingConvention.Windows : CallingConvention.SystemV));
        using ExecutableMemory bridge = new(Bridge(windows));
        long argument = 0;
        long* found = stackalloc long[s_general.Length + s_vectors.Length];

        ((delegate* unmanaged<nint, long*, long*, void>)bridge.Address)(routine.Address, &argument, found);

        Assert.That(argument, Is.EqualTo(1), "the argument arrived");
        for (int i = 0; i < s_general.Length + s_vectors.Length; i++)
        {
            bool kept = windows || (i < s_general.Length && s_general[i] != rdi && s_general[i] != rsi);
            if (kept) Assert.That(found[i], Is.EqualTo(1000 + i), i < s_general.Length ? $"{s_general[i]}" : $"{s_vectors[i - s_general.Length]}");
        }
    }

    private static ReadOnlySpan<byte> UsesEverything(CallingConvention convention)
    {
        Assembler code = new();
        convention.WriteEntry(code, Gpr.R15);
        code.Add(new Address(Gpr.R15), 1);
        for (int i = 0; i < 32; i++) code.Vpxord(new Zmm(i), new Zmm(i), new Zmm(i));
        foreach (Gpr register in Enum.GetValues<Gpr>())
        {
            if (register != Gpr.Rsp) code.Mov32(register, 7);
        }

        convention.WriteExit(code);
        return code.Finish();
    }

    /// <summary>void bridge(routine: rdi, argument: rsi, found: rdx) by System V.</summary>
    private static byte[] Bridge(bool windows)
    {
        Iced.Intel.Assembler code = new(64);
        AssemblerRegister64[] kept = [rbx, rbp, r12, r13, r14, r15];
        foreach (AssemblerRegister64 register in kept) code.push(register);
        code.push(rdx);
        code.mov(rax, rdi);
        if (windows)
        {
            code.mov(rcx, rsi);
        }
        else
        {
            code.mov(rdi, rsi);
        }

        for (int i = 0; i < s_vectors.Length; i++)
        {
            code.mov(r11, 1000 + s_general.Length + i);
            code.vmovq(s_vectors[i], r11);
        }

        for (int i = 0; i < s_general.Length; i++)
        {
            if (windows || s_general[i] != rdi) code.mov(s_general[i], 1000 + i);
        }

        // Seven pushes and the return address: the stack is aligned. Windows wants 32 bytes that belong to the routine.
        code.sub(rsp, 32);
        code.call(rax);
        code.add(rsp, 32);
        code.pop(rdx);
        for (int i = 0; i < s_general.Length; i++) code.mov(__[rdx + (i * 8)], s_general[i]);
        for (int i = 0; i < s_vectors.Length; i++) code.vmovq(__qword_ptr[rdx + ((s_general.Length + i) * 8)], s_vectors[i]);
        foreach (AssemblerRegister64 register in kept.Reverse()) code.pop(register);
        code.ret();
        using MemoryStream stream = new();
        code.Assemble(new StreamCodeWriter(stream), 0);
        return stream.ToArray();
    }
}

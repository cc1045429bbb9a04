using Iced.Intel;
using LowBitDiffusion.Kernels.Assembling;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Convolution;
using Assembler = LowBitDiffusion.Kernels.Assembling.Assembler;
using Label = LowBitDiffusion.Kernels.Assembling.Label;

namespace LowBitDiffusion.Kernels.Tests.Assembling;

/// <summary>What the assembler writes, an independent disassembler reads: every instruction, every register, every form of address.</summary>
[Category("Kernels")]
public sealed class AssemblerTests
{
    private static readonly int[] s_vectors = [0, 1, 7, 8, 13, 15, 16, 23, 24, 31];

    private static readonly int[] s_displacements = [0, 4, -4, 64, 127, 128, -128, 508, 512, 8128, 8192, -8192, 1 << 20];

    private static IEnumerable<Gpr> Registers => Enum.GetValues<Gpr>();

    private static IEnumerable<(Address Address, string Text)> Addresses()
    {
        foreach (Gpr @base in Registers)
        {
            foreach (int displacement in s_displacements) yield return (new Address(@base, displacement), Text(@base, null, displacement));
            foreach (Gpr index in Registers.Where(register => register != Gpr.Rsp))
            {
                yield return (new Address(@base, index, 12), Text(@base, index, 12));
            }
        }

        static string Text(Gpr @base, Gpr? index, int displacement) =>
            $"[{@base.Name()}{(index is { } i ? $"+{i.Name()}" : "")}{(displacement == 0 ? "" : displacement > 0 ? $"+{displacement}" : $"{displacement}")}]";
    }

    private static IEnumerable<TestCaseData> AddressInstructions()
    {
        yield return WithAddress((code, address) => code.Mov(Gpr.Rax, address), "mov rax,{0}");
        yield return WithAddress((code, address) => code.Mov(Gpr.R13, address), "mov r13,{0}");
        yield return WithAddress((code, address) => code.Mov(address, Gpr.R10), "mov {0},r10");
        yield return WithAddress((code, address) => code.Mov32(Gpr.Rdx, address), "mov edx,{0}");
        yield return WithAddress((code, address) => code.Mov32(Gpr.R9, address), "mov r9d,{0}");
        yield return WithAddress((code, address) => code.Add(Gpr.Rdi, address), "add rdi,{0}");
        yield return WithAddress((code, address) => code.Imul(Gpr.R11, address), "imul r11,{0}");
        yield return WithAddress((code, address) => code.Add(address, 8), "add qword ptr {0},8");
        yield return WithAddress((code, address) => code.Add(address, 1000), "add qword ptr {0},1000");
        yield return WithAddress((code, address) => code.Dec(address), "dec qword ptr {0}");
        yield return WithAddress((code, address) => code.Cmp(Gpr.Rbp, address), "cmp rbp,{0}");
        yield return WithAddress((code, address) => code.Prefetcht0(address), "prefetcht0 {0}");
        yield return WithAddress((code, address) => code.Prefetchw(address), "prefetchw {0}");
        yield return WithAddress((code, address) => code.Vmovups(new Zmm(17), address), "vmovups zmm17,{0}");
        yield return WithAddress((code, address) => code.Vmovups(new Zmm(9), address, new Mask(2)), "vmovups zmm9{{k2}}{{z}},{0}");
        yield return WithAddress((code, address) => code.Vmovups(address, new Zmm(30)), "vmovups {0},zmm30");
        yield return WithAddress((code, address) => code.Vmovups(address, new Zmm(30), new Mask(1)), "vmovups {0}{{k1}},zmm30");
        yield return WithAddress((code, address) => code.Vmovups128(address, new Zmm(12)), "vmovups {0},xmm12");
        yield return WithAddress((code, address) => code.Vmovups128(new Zmm(12), address), "vmovups xmm12,{0}");
        yield return WithAddress((code, address) => code.Vpbroadcastd(new Zmm(26), address), "vpbroadcastd zmm26,{0}");
        yield return WithAddress((code, address) => code.Vfmadd231ps(new Zmm(2), new Zmm(27), address), "vfmadd231ps zmm2,zmm27,{0}");
        yield return WithAddress((code, address) => code.Vfmadd213ps(new Zmm(20), new Zmm(3), address), "vfmadd213ps zmm20,zmm3,{0}");
        yield return WithAddress((code, address) => code.Vpdpbusd(new Zmm(19), new Zmm(31), address), "vpdpbusd zmm19,zmm31,dword bcst {0}");
        yield return WithAddress((code, address) => code.Vdpbf16ps(new Zmm(19), new Zmm(31), address), "vdpbf16ps zmm19,zmm31,dword bcst {0}");
        yield return WithAddress((code, address) => code.Vaddps(new Zmm(3), new Zmm(4), address), "vaddps zmm3,zmm4,{0}");
        yield return WithAddress(
            (code, address) => code.Vaddps(new Zmm(3), new Zmm(4), address, new Mask(1)), "vaddps zmm3{{k1}}{{z}},zmm4,{0}");
    }

    private static IEnumerable<TestCaseData> VectorInstructions()
    {
        yield return WithVectors((code, a, b, c) => code.Vpdpbusd(a, b, c), "vpdpbusd {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vfmadd213ps(a, b, c), "vfmadd213ps {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vscalefps(a, b, c), "vscalefps {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vpackssdw(a, b, c), "vpackssdw {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vpackuswb(a, b, c), "vpackuswb {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vpshufb(a, b, c), "vpshufb {0},{1},{2}");
        yield return WithVectors((code, a, b, _) => code.Vreduceps(a, b), "vreduceps {0},{1},1");
        yield return WithVectors((code, a, b, _) => code.Vcvtps2dq(a, b), "vcvtps2dq {0},{1}");
        yield return WithVectors((code, a, b, c) => code.Vdpbf16ps(a, b, c), "vdpbf16ps {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vcvtne2ps2bf16(a, b, c), "vcvtne2ps2bf16 {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vpermw(a, b, c), "vpermw {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vpxord(a, b, c), "vpxord {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vpandd(a, b, c), "vpandd {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vmaxps(a, b, c), "vmaxps {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vmulps(a, b, c), "vmulps {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vaddps(a, b, c), "vaddps {0},{1},{2}");
        yield return WithVectors((code, a, b, c) => code.Vpaddb(a, b, c), "vpaddb {0},{1},{2}");
        yield return WithVectors((code, a, b, _) => code.Vpsrld(a, b, 4), "vpsrld {0},{1},4");
        yield return WithVectors((code, a, b, _) => code.Vpsrad(a, b, 4), "vpsrad {0},{1},4");
        yield return WithVectors((code, a, b, _) => code.Vmovaps(a, b), "vmovaps {0},{1}");
        yield return WithVectors((code, a, b, _) => code.Vcvtdq2ps(a, b), "vcvtdq2ps {0},{1}");
    }

    private static IEnumerable<TestCaseData> RegisterInstructions()
    {
        yield return WithRegister((code, register) => code.Mov(Gpr.R15, register), "mov r15,{0}");
        yield return WithRegister((code, register) => code.Mov(register, Gpr.Rcx), "mov {0},rcx");
        yield return WithRegister((code, register) => code.Mov32(register, 123456), "mov {1},123456");
        yield return WithRegister((code, register) => code.Add(register, Gpr.R12), "add {0},r12");
        yield return WithRegister((code, register) => code.Add(register, 127), "add {0},127");
        yield return WithRegister((code, register) => code.Add(register, 512), "add {0},512");
        yield return WithRegister((code, register) => code.Add(register, -160), "add {0},-160");
        yield return WithRegister((code, register) => code.Test(register, register), "test {0},{0}");
        yield return WithRegister((code, register) => code.Push(register), "push {0}");
        yield return WithRegister((code, register) => code.Pop(register), "pop {0}");
        yield return WithRegister((code, register) => code.Kmovw(new Mask(2), register), "kmovw k2,{1}");
        yield return WithRegister((code, register) => code.Vpbroadcastd(new Zmm(25), register), "vpbroadcastd zmm25,{1}");
    }

    [TestCaseSource(nameof(AddressInstructions))]
    public void Instruction_with_an_address(Delegate write, string text)
    {
        foreach ((Address address, string name) in Addresses())
        {
            Assembler code = new();
            ((Action<Assembler, Address>)write)(code, address);
            Assert.That(Disassemble(code), Is.EqualTo(string.Format(null, text, name)));
        }
    }

    [TestCaseSource(nameof(VectorInstructions))]
    public void Instruction_on_vectors(Delegate write, string text)
    {
        foreach (int a in s_vectors)
        {
            foreach (int b in s_vectors)
            {
                foreach (int c in s_vectors)
                {
                    Assembler code = new();
                    ((Action<Assembler, Zmm, Zmm, Zmm>)write)(code, new Zmm(a), new Zmm(b), new Zmm(c));
                    Assert.That(Disassemble(code), Is.EqualTo(string.Format(null, text, $"zmm{a}", $"zmm{b}", $"zmm{c}")));
                }
            }
        }
    }

    [TestCaseSource(nameof(RegisterInstructions))]
    public void Instruction_on_general_registers(Delegate write, string text)
    {
        foreach (Gpr register in Registers)
        {
            Assembler code = new();
            ((Action<Assembler, Gpr>)write)(code, register);
            Assert.That(Disassemble(code), Is.EqualTo(string.Format(null, text, register.Name(), register.Name32())));
        }
    }

    [Test]
    public void Jumps_lead_to_their_labels_forwards_and_backwards()
    {
        Assembler code = new();
        Label back = code.NewLabel(), forth = code.NewLabel();
        code.Bind(back);
        code.Jmp(forth);
        code.Jump(Condition.Equal, back);
        code.Jump(Condition.NotEqual, back);
        code.Jump(Condition.Less, back);
        code.Jump(Condition.NotLess, forth);
        code.Bind(forth);
        code.Vzeroupper();
        code.Ret();

        Assert.That(Disassemble(code), Is.EqualTo("jmp 29; je 0; jne 0; jl 0; jge 29; vzeroupper; ret"));
    }

    [Test]
    public void Alignment_is_filled_with_whole_instructions_that_do_nothing([Range(0, 70)] int before)
    {
        Assembler code = new();
        for (int i = 0; i < before; i++) code.Ret();
        code.Align(64);

        Assert.That(code.Length % 64, Is.Zero);
        Assert.That(code.Length - before, Is.LessThan(64));
        // 66 90 reads as an exchange of ax with itself.
        Assert.That(Disassemble(code).Split("; ", StringSplitOptions.RemoveEmptyEntries).Skip(before), Is.All.StartsWith("nop").Or.EqualTo("xchg ax,ax"));
    }

    [Test]
    public void The_listing_of_the_kernels_is_what_their_code_says([Values] bool windows, [Values("layers", "int8", "bf16")] string kernels)
    {
        List<string> listing = [];
        Assembler code = new(listing);
        CallingConvention convention = windows ? CallingConvention.Windows : CallingConvention.SystemV;
        if (kernels == "layers") Avx512VnniQuantizedConv.Write(code, convention);
        else _ = Avx512VnniProduct.Write(code, convention, kernels == "bf16");

        IEnumerable<string> listed = listing.Where(line => !line.StartsWith(';') && !line.StartsWith("align") && !line.EndsWith(':')).Select(WithoutTarget);
        IEnumerable<string> read = Disassemble(code).Split("; ").Where(line => !line.Contains("nop") && line != "xchg ax,ax").Select(WithoutTarget);

        Assert.That(read, Is.EqualTo(listed));

        static string WithoutTarget(string line) => line.StartsWith('j') ? line.Split(' ')[0] : line;
    }

    private static TestCaseData WithAddress(Action<Assembler, Address> write, string text) => new(write, text);

    private static TestCaseData WithVectors(Action<Assembler, Zmm, Zmm, Zmm> write, string text) => new(write, text);

    private static TestCaseData WithRegister(Action<Assembler, Gpr> write, string text) => new(write, text);

    private static string Disassemble(Assembler code)
    {
        byte[] bytes = code.Finish().ToArray();
        Decoder decoder = Decoder.Create(64, bytes);
        MasmFormatter formatter = new(new FormatterOptions
        {
            NumberBase = NumberBase.Decimal,
            MemorySizeOptions = MemorySizeOptions.Minimal,
            SpaceAfterOperandSeparator = false,
            BranchLeadingZeros = false,
            SignedImmediateOperands = true,
            ShowBranchSize = false,
        });
        List<string> lines = [];
        while (decoder.IP < (ulong)bytes.Length)
        {
            StringOutput output = new();
            Instruction instruction = decoder.Decode();
            Assert.That(instruction.IsInvalid, Is.False, "a valid instruction");
            formatter.Format(instruction, output);
            lines.Add(output.ToStringAndReset());
        }

        return string.Join("; ", lines);
    }
}

using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;
using LowBitDiffusion.Kernels.ILGPU.Families;

namespace LowBitDiffusion.Kernels.ILGPU.Tests.Cuda;

/// <summary>What is made for CUDA, read as text: ILGPU needs no driver to write it.</summary>
[Category("Kernels")]
public sealed class PtxTests
{
    [Test]
    public void Tiles_are_products_by_dp4a_in_registers([Values] bool aligned, [Values] bool nibbles)
    {
        string ptx = Ptx(IntegerVariant.Dp4a, CudaArchitecture.SM_61, CudaInstructionSet.ISA_60, aligned, nibbles);

        Assert.That(Lines(ptx, "dp4a.u32.s32"), Is.EqualTo(16), "one for each sum of a tile");
        Assert.That(ptx, Does.Contain(".target sm_61"));
        StaysExactAndInRegisters(ptx);
    }

    [Test]
    public void Warps_multiply_by_tensor_cores([Values] bool aligned, [Values] bool nibbles)
    {
        string ptx = Ptx(IntegerVariant.Mma, CudaArchitecture.SM_80, CudaInstructionSet.ISA_70, aligned, nibbles);

        Assert.That(Lines(ptx, "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32"), Is.EqualTo(8), "two for each of four blocks");
        Assert.That(ptx, Does.Match(@"mma\.sync\S+\s+\{(%r\d+, ){3}%r\d+\}, \{(%r\d+, ){3}%r\d+\}, \{%r\d+, %r\d+\}, \{(%r\d+, ){3}%r\d+\};"), "registers as the instruction wants them");
        Assert.That(ptx, Does.Contain(".target sm_80"));
        StaysExactAndInRegisters(ptx);
    }

    [Test]
    public void Plain_arithmetic_needs_no_instruction_of_its_own()
    {
        string ptx = Ptx(IntegerVariant.Plain, CudaArchitecture.SM_50, CudaInstructionSet.ISA_60, aligned: true, nibbles: false);

        Assert.That(ptx, Does.Not.Contain("dp4a").And.Not.Contain("mma"));
        StaysExactAndInRegisters(ptx);
    }

    private static void StaysExactAndInRegisters(string ptx)
    {
        Assert.That(ptx, Does.Not.Contain(".local"), "nothing is kept in memory");
        Assert.That(ptx, Does.Not.Contain(".shared").And.Not.Contain("bar."), "nobody waits for anybody");
        Assert.That(ptx, Does.Contain("mul.rn.f32").And.Not.Contain("mul.f32").And.Not.Contain("fma."), "no product is fused with an addition");
    }

    private static int Lines(string ptx, string instruction) => ptx.Split('\n').Count(line => line.TrimStart().StartsWith(instruction, StringComparison.Ordinal));

    private static string Ptx(IntegerVariant variant, CudaArchitecture architecture, CudaInstructionSet instructions, bool aligned, bool nibbles)
    {
        using PTXBackend backend = new(TestDevices.Context.Context, architecture, instructions, null!);
        EntryPointDescription entry = EntryPointDescription.FromExplicitlyGroupedKernel(variant.Method(aligned, nibbles));
        return ((PTXCompiledKernel)backend.Compile(entry, default)).PTXAssembly;
    }
}

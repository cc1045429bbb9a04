using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Dispatch;
using Win32Exception = System.ComponentModel.Win32Exception;

namespace LowBitDiffusion.Kernels.Tests.Dispatch;

/// <summary>The table does without what cannot be had.</summary>
[Category("Kernels")]
public sealed class KernelTableTests
{
    private static readonly CpuFeatures s_everything = new(Vector128: true, Avx2: true, AvxVnni: true, Avx512BW: true, Avx512Vnni: true);

    [Test]
    public void Assembled_kernels_come_first_and_scalar_last()
    {
        KernelTable.Choice choice = KernelTable.Choose(s_everything, _ => new ScalarQuantizedConv());

        Assert.That(choice.Tables[0].InstructionSet, Is.EqualTo(InstructionSet.Avx512Vnni));
        Assert.That(choice.Tables[^1].InstructionSet, Is.EqualTo(InstructionSet.Scalar));
        Assert.That(choice.Tables, Has.Count.EqualTo(Enum.GetValues<InstructionSet>().Length));
    }

    [Test]
    public void Refused_executable_memory_leaves_the_next_kernels_and_the_reason()
    {
        KernelTable.Choice choice = KernelTable.Choose(
            s_everything, set => set == InstructionSet.Avx512Vnni ? throw new Win32Exception(13) : new ScalarQuantizedConv());

        Assert.That(choice.Tables[0].InstructionSet, Is.EqualTo(InstructionSet.AvxVnni));
        Assert.That(choice.Reasons.Keys, Is.EqualTo(new[] { InstructionSet.Avx512Vnni }));
        Assert.That(choice.Reasons[InstructionSet.Avx512Vnni], Does.Contain("executable memory").And.Contain(new Win32Exception(13).Message));
    }

    [Test]
    public void A_processor_without_vectors_has_scalar_kernels()
    {
        KernelTable.Choice choice = KernelTable.Choose(new CpuFeatures(false, false, false, false, false), _ => new ScalarQuantizedConv());

        Assert.That(choice.Tables, Has.Count.EqualTo(1));
        Assert.That(choice.Tables[0].InstructionSet, Is.EqualTo(InstructionSet.Scalar));
    }
}

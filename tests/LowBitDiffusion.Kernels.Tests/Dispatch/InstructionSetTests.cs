using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.Tests.Dispatch;

/// <summary>
/// The kernel tests hold on lesser processors too. Each case starts the test runner again on this assembly with an instruction set switched off
/// by the runtime's own settings, and the child makes sure that it was.
/// </summary>
[Category("InstructionSets")]
public sealed class InstructionSetTests
{
    [TestCase("DOTNET_EnableAVXVNNI", "AvxVnni")]
    [TestCase("DOTNET_EnableAVX512", "Avx512BW,Avx512Vnni")]
    [TestCase("DOTNET_EnableAVX2", "Avx2,AvxVnni,Avx512BW,Avx512Vnni")]
    [TestCase("DOTNET_EnableHWIntrinsic", "Vector128,Avx2,AvxVnni,Avx512BW,Avx512Vnni")]
    public void Kernel_tests_pass_without(string setting, string missing) =>
        ChildTestRun.AssertPasses(typeof(InstructionSetTests).Assembly, "Kernels", (setting, "0"), (InstructionSetsInUseTests.MissingVariable, missing));
}

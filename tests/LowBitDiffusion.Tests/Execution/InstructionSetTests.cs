using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Tests.Execution;

/// <summary>Golden cases and plans hold on lesser processors too: they run again in child processes with instruction sets switched off by the runtime's own settings.</summary>
[Category("InstructionSets")]
public sealed class InstructionSetTests
{
    [Test]
    public void Golden_cases_and_plans_pass_without([Values("DOTNET_EnableAVX512", "DOTNET_EnableAVX2", "DOTNET_EnableHWIntrinsic")] string setting) =>
        ChildTestRun.AssertPasses(typeof(InstructionSetTests).Assembly, "Execution", (setting, "0"));
}

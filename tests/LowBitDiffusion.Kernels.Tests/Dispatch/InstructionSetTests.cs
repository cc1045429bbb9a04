using System.Diagnostics;

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
    public void Kernel_tests_pass_without(string setting, string missing)
    {
        ProcessStartInfo start = new(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string argument in (string[])["test", typeof(InstructionSetTests).Assembly.Location, "--filter", "TestCategory=Kernels"])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment[setting] = "0";
        start.Environment[InstructionSetsInUseTests.MissingVariable] = missing;

        using Process child = Process.Start(start)!;
        Task<string> error = child.StandardError.ReadToEndAsync();
        string output = child.StandardOutput.ReadToEnd();
        child.WaitForExit();

        Assert.That(child.ExitCode, Is.Zero, $"with {setting}=0\n{output}\n{error.Result}");
        Assert.That(output, Does.Match(@"Passed:\s+[1-9]"), "tests ran");
    }
}

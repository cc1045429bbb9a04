using System.Diagnostics;
using System.Reflection;

namespace LowBitDiffusion.Tests.Shared;

/// <summary>Starts the test runner again on a test assembly, under other settings of the runtime: what tests are about lesser processors need a process of their own.</summary>
internal static class ChildTestRun
{
    /// <summary>Runs the tests of a category in a child process and asserts that some ran and all passed.</summary>
    /// <param name="tests">The assembly.</param>
    /// <param name="category">The category of the tests to run.</param>
    /// <param name="environment">Variables that the child gets.</param>
    public static void AssertPasses(Assembly tests, string category, params (string Name, string Value)[] environment)
    {
        ProcessStartInfo start = new(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (string argument in (string[])["test", tests.Location, "--filter", $"TestCategory={category}"]) start.ArgumentList.Add(argument);
        foreach ((string name, string value) in environment) start.Environment[name] = value;

        using Process child = Process.Start(start)!;
        Task<string> error = child.StandardError.ReadToEndAsync();
        string output = child.StandardOutput.ReadToEnd();
        child.WaitForExit();

        Assert.That(child.ExitCode, Is.Zero, $"with {string.Join(' ', environment)}\n{output}\n{error.Result}");
        Assert.That(output, Does.Match(@"Passed:\s+[1-9]"), "tests ran");
    }
}

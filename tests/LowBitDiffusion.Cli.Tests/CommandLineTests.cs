using LowBitDiffusion.Cli.Tests.Support;

namespace LowBitDiffusion.Cli.Tests;

/// <summary>The command line itself: help, and arguments that mean nothing.</summary>
public sealed class CommandLineTests
{
    private static readonly string[] s_commands = ["generate", "quantize", "evaluate", "inspect", "verify", "bench", "doctor", "kernels"];

    [Test]
    public async Task Help_lists_every_command()
    {
        LbdResult result = await Lbd.SucceedAsync("--help");

        foreach (string command in s_commands) Assert.That(result.Out, Does.Match($"(?m)^  {command}\\b"), command);
    }

    [TestCaseSource(nameof(s_commands))]
    public async Task Help_of_a_command_ends_with_examples_that_parse(string command)
    {
        LbdResult result = await Lbd.SucceedAsync(command, "--help");

        string[] examples = [.. result.Out[(result.Out.IndexOf("Examples:", StringComparison.Ordinal) + 9)..].Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)];
        Assert.That(examples, Is.Not.Empty);
        foreach (string example in examples) Assert.That(example, Does.Contain($"lbd {command}"));
    }

    [TestCase("generate --bogus", "'--bogus'")]
    [TestCase("paint", "'paint'")]
    [TestCase("generate --steps many", "many", "--steps")]
    [TestCase("generate --seed -1", "-1", "--seed")]
    [TestCase("verify", "verify")]
    [TestCase("evaluate --model x", "--reference")]
    [TestCase("bench", "--model")]
    public async Task What_cannot_be_parsed_is_said_with_exit_code_2(string line, params string[] expected)
    {
        LbdResult result = await Lbd.RunAsync(line.Split(' '));

        Assert.That(result.ExitCode, Is.EqualTo(2), result.ToString);
        Assert.That(result.Error, Does.StartWith("lbd: ").And.Contain("--help'"));
        foreach (string part in expected) Assert.That(result.Error, Does.Contain(part));
        Assert.That(result.Out, Is.Empty);
    }

    [Test]
    public async Task The_version_is_that_of_the_program() => Assert.That((await Lbd.SucceedAsync("--version")).Out, Does.Match(@"^\d+\.\d+\.\d+"));

    [Test]
    public async Task An_unexpected_error_is_one_line_unless_more_is_asked_for()
    {
        (int code, string error) = await RunBroken("kernels");
        (int verboseCode, string verboseError) = await RunBroken("kernels", "--verbose");

        Assert.That((code, verboseCode), Is.EqualTo((3, 3)));
        Assert.That(error.TrimEnd(), Is.EqualTo("lbd: unexpected error: InvalidOperationException: broken on purpose (--verbose shows where)"));
        Assert.That(verboseError, Does.Contain("   at "));
    }

    private static async Task<(int Code, string Error)> RunBroken(params string[] args)
    {
        StringWriter error = new();
        return (await CommandLineApp.RunAsync(args, new BrokenWriter(), error), error.ToString());
    }

    private sealed class BrokenWriter : StringWriter
    {
        public override void WriteLine(string? value) => throw new InvalidOperationException("broken on purpose");
    }
}

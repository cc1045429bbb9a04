using System.Text.Json;

namespace LowBitDiffusion.Cli.Tests.Support;

/// <summary>What a command line did.</summary>
internal sealed record LbdResult(int ExitCode, string Out, string Error)
{
    public JsonElement Json => JsonDocument.Parse(Out).RootElement;

    public string[] ErrorLines => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public override string ToString() => $"exit code {ExitCode}\n{Out}\n{Error}";
}

/// <summary>Runs <c>lbd</c> in this process.</summary>
internal static class Lbd
{
    public static async Task<LbdResult> RunAsync(params string[] args)
    {
        StringWriter output = new(), error = new();
        int code = await CommandLineApp.RunAsync(args, output, error, TestContext.CurrentContext.CancellationToken);
        return new LbdResult(code, output.ToString(), error.ToString());
    }

    /// <summary>Runs a command that must succeed.</summary>
    public static async Task<LbdResult> SucceedAsync(params string[] args)
    {
        LbdResult result = await RunAsync(args);
        Assert.That(result.ExitCode, Is.Zero, () => $"lbd {string.Join(' ', args)}: {result}");
        return result;
    }
}

using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using LowBitDiffusion.Cli.Commands;

namespace LowBitDiffusion.Cli.Output;

/// <summary>The usual help, followed by the command's examples.</summary>
internal sealed class ExamplesHelpAction(HelpAction usual) : SynchronousCommandLineAction
{
    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        usual.Invoke(parseResult);
        if (parseResult.CommandResult.Command is not CliCommand { Examples: { Count: > 0 } examples }) return ExitCode.Success;
        TextWriter output = parseResult.InvocationConfiguration.Output;
        output.WriteLine("Examples:");
        foreach (string example in examples) output.WriteLine($"  {example}");
        output.WriteLine();
        return ExitCode.Success;
    }
}

using System.CommandLine;
using LowBitDiffusion.Cli.Output;

namespace LowBitDiffusion.Cli.Commands;

/// <summary>One command of <c>lbd</c>.</summary>
internal abstract class CliCommand : Command
{
    /// <summary>Creates the command.</summary>
    protected CliCommand(string name, string description, Terminal terminal) : base(name, description)
    {
        Terminal = terminal;
        SetAction(RunAsync);
    }

    /// <summary>Whole command lines for the help text.</summary>
    public abstract IReadOnlyList<string> Examples { get; }

    /// <summary>Where to write.</summary>
    protected Terminal Terminal { get; }

    /// <summary>Does the work.</summary>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    protected abstract Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken);
}

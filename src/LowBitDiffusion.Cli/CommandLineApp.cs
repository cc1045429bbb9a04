using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using LowBitDiffusion.Cli.Commands;
using LowBitDiffusion.Cli.Output;

namespace LowBitDiffusion.Cli;

/// <summary>The whole of <c>lbd</c>: arguments in, two streams of text and an exit code out.</summary>
internal static class CommandLineApp
{
    /// <summary>Runs a command line.</summary>
    /// <param name="args">Arguments without the program's name.</param>
    /// <param name="output">Results.</param>
    /// <param name="error">Progress and errors.</param>
    /// <param name="cancellationToken">Ctrl-C.</param>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter error, CancellationToken cancellationToken = default)
    {
        Terminal terminal = new(output, error);
        Option<bool> verbose = new("--verbose") { Description = "Show where an unexpected error came from.", Recursive = true };
        ParseResult parsed = CreateRoot(terminal, verbose).Parse(args);
        if (parsed.Errors.Count > 0) return Usage(parsed, terminal);
        try
        {
            InvocationConfiguration configuration = new() { Output = output, Error = error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
            int code = await parsed.InvokeAsync(configuration, cancellationToken);
            await output.FlushAsync(cancellationToken);
            return code;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            terminal.Complain("cancelled");
            return ExitCode.Cancelled;
        }
        catch (Exception exception) when (Unwrap(exception) is { } expected)
        {
            terminal.Complain(expected.Message);
            return ExitCode.BadInput;
        }
        catch (IOException exception)
        {
            // The library names the files of its own errors: what is left is standard output.
            terminal.Complain($"cannot write the result: {exception.Message}");
            return ExitCode.BadInput;
        }
        catch (Exception exception)
        {
            bool details = parsed.GetValue(verbose);
            terminal.Complain($"unexpected error: {exception.GetType().Name}: {exception.Message}{(details ? "" : " (--verbose shows where)")}");
            if (details) terminal.Error.WriteLine(exception.StackTrace);
            return ExitCode.Unexpected;
        }
    }

    private static RootCommand CreateRoot(Terminal terminal, Option<bool> verbose)
    {
        RootCommand root = new("Diffusion models in 4 and 8 bits on this processor: draw, quantize, look inside, measure.")
        {
            verbose,
            new GenerateCommand(terminal),
            new ConvertCommand(terminal),
            new RandomCommand(terminal),
            new QuantizeCommand(terminal),
            new CorrectCommand(terminal),
            new EvaluateCommand(terminal),
            new CompareCommand(terminal),
            new InspectCommand(terminal),
            new VerifyCommand(terminal),
            new BenchCommand(terminal),
            new DoctorCommand(terminal),
            new KernelsCommand(terminal),
        };
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Action = new ExamplesHelpAction((HelpAction)help.Action!);
        return root;
    }

    private static int Usage(ParseResult parsed, Terminal terminal)
    {
        foreach (ParseError problem in parsed.Errors) terminal.Complain(problem.Message);
        List<string> names = [];
        for (SymbolResult? command = parsed.CommandResult; command is CommandResult { Command: not RootCommand } named; command = command.Parent) names.Insert(0, named.Command.Name);
        terminal.Error.WriteLine($"'{string.Join(' ', ["lbd", .. names, "--help"])}' lists what there is.");
        return ExitCode.BadInput;
    }

    // Parallel loads wrap what they meet.
    private static LowBitDiffusionException? Unwrap(Exception exception) => exception switch
    {
        LowBitDiffusionException expected => expected,
        AggregateException several => several.InnerExceptions.Select(Unwrap).FirstOrDefault(e => e is not null),
        _ => null,
    };
}

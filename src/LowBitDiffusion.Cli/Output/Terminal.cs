using Spectre.Console;
using Spectre.Console.Rendering;

namespace LowBitDiffusion.Cli.Output;

/// <summary>
/// Where a command writes: results to one stream, progress and complaints to the other. On a terminal there are colours, bars and boxes; elsewhere plain
/// lines without control codes, tables as Markdown.
/// </summary>
internal sealed class Terminal
{
    private readonly IAnsiConsole _out;
    private readonly IAnsiConsole _error;
    private readonly bool _outIsTerminal;
    private readonly bool _errorIsTerminal;

    /// <summary>Writes to two streams, each a terminal if it is the process's own and not redirected.</summary>
    public Terminal(TextWriter output, TextWriter error)
    {
        (Out, Error) = (output, error);
        _outIsTerminal = ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected;
        _errorIsTerminal = ReferenceEquals(error, Console.Error) && !Console.IsErrorRedirected;
        _out = Create(output);
        _error = Create(error);
    }

    /// <summary>Results.</summary>
    public TextWriter Out { get; }

    /// <summary>Progress and complaints.</summary>
    public TextWriter Error { get; }

    /// <summary>Writes one line that says what is wrong.</summary>
    public void Complain(string message) => Error.WriteLine($"lbd: {message.ReplaceLineEndings(" ")}");

    /// <summary>Writes a table; cells are plain text. Columns whose header starts with a space are aligned to the right. One that is wider than the window has no box, which would be cut into pieces.</summary>
    public void WriteTable(IReadOnlyList<string> headers, IEnumerable<IReadOnlyList<string>> rows)
    {
        IReadOnlyList<string>[] all = [.. rows];
        if (!_outIsTerminal || MarkdownTable.Width(headers, all) > _out.Profile.Width)
        {
            MarkdownTable.Write(Out, headers, all);
            return;
        }

        Table table = new() { Border = TableBorder.Rounded };
        foreach (string header in headers)
        {
            TableColumn column = new TableColumn(new Text(header.TrimStart())).NoWrap();
            table.AddColumn(header.StartsWith(' ') ? column.RightAligned() : column);
        }

        foreach (IReadOnlyList<string> row in all) table.AddRow(row.Select(IRenderable (cell) => new Text(cell)));
        _out.Write(table);
    }

    /// <summary>Runs work that takes a while under a bar, or with a line for every tenth where there is no terminal.</summary>
    /// <param name="title">What is done.</param>
    /// <param name="quiet">Show nothing.</param>
    /// <param name="work">The work; may report from any thread.</param>
    public async Task<T> WithProgressAsync<T>(string title, bool quiet, Func<IProgress<ProgressUpdate>, Task<T>> work)
    {
        if (quiet) return await work(new DelegateProgress<ProgressUpdate>(_ => { }));
        if (!_errorIsTerminal) return await work(new PlainProgress(Error, title));
        return await _error.Progress()
            .AutoClear(false)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .StartAsync(async context =>
            {
                ProgressTask bar = context.AddTask(Markup.Escape(title), maxValue: 1);
                T result = await work(new DelegateProgress<ProgressUpdate>(update =>
                {
                    bar.Value = update.Fraction;
                    bar.Description = Markup.Escape(update.Text is { } text ? $"{title}: {text}" : title);
                }));
                bar.Value = 1;
                return result;
            });
    }

    private static IAnsiConsole Create(TextWriter writer) => AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(writer) });
}

using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Formats;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Models;
using LowBitDiffusion.Verification;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd verify</c>: compares networks with recorded results.</summary>
internal sealed class VerifyCommand : CliCommand
{
    private readonly Argument<string[]> _cases = new("CASE")
    {
        Description = "Folder with config.json, weights and io*.safetensors (in.*, out.*, act.*); or a folder of such folders with an index.json.",
        Arity = ArgumentArity.OneOrMore,
    };
    private readonly Option<string> _executor = new("--executor") { Description = "What to run them with.", HelpName = "reference|planned|all", DefaultValueFactory = _ => "all" };
    private readonly Option<int?> _threads = CommonOptions.Threads();
    private readonly Option<bool> _json = CommonOptions.Json();

    public VerifyCommand(Terminal terminal) : base("verify", "Compare networks with recorded inputs, activations and outputs. Exit code 1 if anything is beyond its tolerance.", terminal)
    {
        Arguments.Add(_cases);
        Options.Add(_executor);
        Options.Add(_threads);
        Options.Add(_json);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples => ["lbd verify tests/golden", "lbd verify tests/golden/unet2d_class --executor planned --threads 1"];

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        bool json = parsed.GetValue(_json);
        string[] folders = [.. parsed.GetValue(_cases)!.SelectMany(Expand)];
        using WorkerPool pool = new(CommonOptions.CheckedThreads(parsed.GetValue(_threads)) ?? Environment.ProcessorCount);
        IReadOnlyList<(string Name, GoldenExecutor Run)> executors = Executors(parsed.GetValue(_executor)!, pool);

        IReadOnlyList<VerifiedRun> runs = await Terminal.WithProgressAsync("verifying", json, progress => Task.Run(() => Verify(folders, executors, progress, cancellationToken), cancellationToken));
        bool passed = runs.All(run => run.Passed);
        if (json)
        {
            Terminal.Out.WriteLine(JsonSerializer.Serialize(new { Passed = passed, Runs = runs }, JsonText.Compact));
        }
        else
        {
            foreach (VerifiedRun run in runs) Print(run);
            Terminal.Out.WriteLine($"{runs.Count(run => run.Passed)} of {runs.Count} runs within tolerance");
        }

        return passed ? ExitCode.Success : ExitCode.CheckFailed;
    }

    private static IReadOnlyList<(string, GoldenExecutor)> Executors(string name, WorkerPool pool)
    {
        Dictionary<string, IReadOnlyList<(string, GoldenExecutor)>> choices = new()
        {
            ["reference"] = [("reference", GoldenExecutors.Reference)],
            ["planned"] = [("planned", GoldenExecutors.Planned(pool))],
        };
        choices["all"] = [.. choices.Values.SelectMany(choice => choice)];
        return CommonOptions.OneOf("executor", name, choices);
    }

    private static IReadOnlyList<VerifiedRun> Verify(
        IReadOnlyList<string> folders, IReadOnlyList<(string Name, GoldenExecutor Run)> executors, IProgress<ProgressUpdate> progress, CancellationToken cancellationToken)
    {
        List<VerifiedRun> runs = [];
        for (int i = 0; i < folders.Count; i++)
        {
            using GoldenCase golden = GoldenCase.Open(folders[i]);
            if (golden.Runs.Count == 0) throw new ModelFormatException(folders[i], null, "expected recorded results io*.safetensors, found none");
            foreach (string file in golden.Runs)
            {
                foreach ((string name, GoldenExecutor executor) in executors)
                    runs.Add(new VerifiedRun(folders[i], file, name, golden.Run(file, executor, cancellationToken)));
            }

            progress.Report(new((i + 1.0) / folders.Count, Path.GetFileName(Path.TrimEndingDirectorySeparator(folders[i]))));
        }

        return runs;
    }

    // An index lists cases of every kind; those of networks that this build knows are run.
    private IEnumerable<string> Expand(string folder)
    {
        if (!Directory.Exists(folder)) throw new ModelFormatException(folder, null, "no such folder");
        string index = Path.Combine(folder, "index.json");
        if (!File.Exists(index)) return [folder];
        JsonConfig[] models = [.. JsonConfig.Open(index).GetObjectArray("cases").Where(entry => entry.GetString("kind") == "model")];
        ILookup<bool, JsonConfig> known = models.ToLookup(entry => NetworkRegistry.ClassNames.Contains(entry.GetString("class")));
        if (known[false].Any())
            Terminal.Error.WriteLine($"{folder}: left out, because this build does not know their networks: {string.Join(", ", known[false].Select(entry => $"{entry.GetString("name")} ({entry.GetString("class")})"))}");
        if (!known[true].Any()) throw new ModelFormatException(index, "cases", $"expected a model of one of {string.Join(", ", NetworkRegistry.ClassNames)}, found none");
        return known[true].Select(entry => Path.Combine(folder, entry.GetString("name")));
    }

    private void Print(VerifiedRun run)
    {
        Terminal.Out.WriteLine($"{run.Case}/{run.File}, {run.Executor} executor: {(run.Passed ? "pass" : "FAIL")}");
        Terminal.WriteTable(
            ["tensor", " max abs", " tolerance", " max rel", " rel L2", " tolerance", "verdict"],
            run.Comparisons.Select(c => new[] { c.Name, Number(c.MaxAbs), Number(c.MaxAbsTolerance), Number(c.MaxRel), Number(c.RelL2), Number(c.RelL2Tolerance), c.Passed ? "pass" : "FAIL" }));
    }

    private static string Number(double value) => double.IsPositiveInfinity(value) ? "-" : value.ToString("0.00e+00", CultureInfo.InvariantCulture);

    /// <summary>One file of one case through one executor.</summary>
    private sealed record VerifiedRun(string Case, string File, string Executor, IReadOnlyList<GoldenComparison> Comparisons)
    {
        public bool Passed => Comparisons.All(c => c.Passed);
    }
}

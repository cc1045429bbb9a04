using System.Diagnostics;
using System.Text.Json;

namespace LowBitDiffusion.Targets;

/// <summary>A line of the table.</summary>
internal sealed record Row(string What, string Target, Func<string> Measure);

/// <summary>What <c>lbd bench --architecture</c> found.</summary>
internal sealed class Measured(JsonElement json)
{
    private readonly double _operations = 2.0 * json.GetProperty("macs").GetInt64(), _peak = json.GetProperty("peak_operations_per_second").GetDouble();

    public double Best => json.GetProperty("best_seconds").GetDouble();

    public double Fastest => json.GetProperty("step_minimum_seconds").GetDouble();

    public double Median => json.GetProperty("step_p50_seconds").GetDouble();

    public double ResidentGigabytes => json.GetProperty("peak_resident_bytes").GetInt64() / 1e9;

    /// <summary>Share of the peak that each kind of product reaches at its fastest.</summary>
    public IEnumerable<(string Name, double Share)> Kinds => json.GetProperty("operations").EnumerateArray()
        .Select(o => (Name: o.GetProperty("kind").GetString()!, Rate: 2 * o.GetProperty("best_macs_per_second").GetDouble(), Time: o.GetProperty("share").GetDouble()))
        .Where(o => o.Rate > 0 && o.Time > 0.005).Select(o => (o.Name, o.Rate / _peak));

    public double Share(double seconds) => _operations / seconds / _peak;
}

/// <summary>The command line, one process a call.</summary>
internal static class Lbd
{
    /// <summary>Runs it and gives its JSON.</summary>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public static JsonElement Run(params string[] arguments)
    {
        ProcessStartInfo start = new("dotnet", [Path.Combine(AppContext.BaseDirectory, "lbd.dll"), .. arguments, "--json"]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? JsonDocument.Parse(output).RootElement
            : throw new InvalidOperationException($"lbd {string.Join(' ', arguments)} ended with {process.ExitCode}: {errors.Result}");
    }
}

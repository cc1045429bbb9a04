using System.Diagnostics;
using System.Text;
using LowBitDiffusion.Cli.Tests.Support;

namespace LowBitDiffusion.Cli.Tests;

/// <summary>Ctrl-C ends a command with exit code 130 and leaves nothing half-written.</summary>
public sealed class CancellationTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public async Task Drawing_stops() => await AssertCancelled("generate", "--model", SharedModels.Float, "--out", _folder["picture.png"], "--count", "1000", "--steps", "1000");

    [Test]
    public async Task Quantizing_stops() => await AssertCancelled("quantize", "--model", SharedModels.Float, "--out", _folder["out"], "--images", "100000", "--steps", "100");

    [Test]
    public async Task Comparing_stops() =>
        await AssertCancelled("evaluate", "--model", SharedModels.Float, "--reference", SharedModels.Quantized, "--count", "100000", "--steps", "10", "--batch", "1", "--sheet", _folder["sheet.png"]);

    [Test, Platform(Exclude = "Win")]
    public async Task An_interrupted_process_exits_with_130()
    {
        string program = Path.Combine(AppContext.BaseDirectory, "lbd.dll");
        using Process process = Process.Start(new ProcessStartInfo(
            "dotnet", [program, "quantize", "--model", SharedModels.Float, "--out", _folder["out"], "--images", "100000", "--steps", "100"])
        { RedirectStandardError = true, RedirectStandardOutput = true })!;
        string? first = await process.StandardError.ReadLineAsync();
        using (Process kill = Process.Start("sh", ["-c", $"kill -INT {process.Id}"])) await kill.WaitForExitAsync();
        string rest = await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();

        Assert.That(first, Does.StartWith("quantizing: "));
        Assert.That(process.ExitCode, Is.EqualTo(130), rest);
        Assert.That(rest, Does.Contain("lbd: cancelled").And.Not.Contain("   at "));
        Assert.That(_folder.Entries, Is.Empty, "nothing is left");
    }

    private async Task AssertCancelled(params string[] args)
    {
        using CancellationTokenSource interrupt = new();
        StringWriter output = new();
        InterruptingWriter error = new(interrupt);

        int code = await CommandLineApp.RunAsync(args, output, error, interrupt.Token);

        Assert.That(code, Is.EqualTo(130), error.ToString);
        Assert.That(error.ToString().TrimEnd(), Does.EndWith("lbd: cancelled"));
        Assert.That(output.ToString(), Is.Empty);
        Assert.That(_folder.Entries, Is.Empty, "nothing is left");
    }

    /// <summary>Presses Ctrl-C at the first line of progress.</summary>
    private sealed class InterruptingWriter(CancellationTokenSource interrupt) : StringWriter
    {
        public override Encoding Encoding => Encoding.UTF8;

        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            interrupt.Cancel();
        }
    }
}

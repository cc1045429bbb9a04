using System.Runtime.InteropServices;
using System.Text;
using LowBitDiffusion.Cli;

// Sparklines and boxes are not in the code pages that Windows starts with.
if (OperatingSystem.IsWindows()) Console.OutputEncoding = Encoding.UTF8;

// The first Ctrl-C lets the command clean up behind itself; a second one ends the process as usual.
using CancellationTokenSource interrupted = new();
void Interrupt(PosixSignalContext signal)
{
    if (interrupted.IsCancellationRequested) return;
    signal.Cancel = true;
    interrupted.Cancel();
}

using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);
return await CommandLineApp.RunAsync(args, Console.Out, Console.Error, interrupted.Token);

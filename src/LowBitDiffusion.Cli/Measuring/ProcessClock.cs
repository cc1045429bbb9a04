using System.Diagnostics;

namespace LowBitDiffusion.Cli.Measuring;

/// <summary>The age of this process, the start of the runtime included.</summary>
internal static class ProcessClock
{
    /// <summary>Time since the system started this process, to about a hundredth of a second.</summary>
    public static TimeSpan SinceStart()
    {
        using Process self = Process.GetCurrentProcess();
        return DateTime.Now - self.StartTime;
    }
}

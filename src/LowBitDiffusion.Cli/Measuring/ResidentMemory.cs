using System.Diagnostics;
using System.Globalization;

namespace LowBitDiffusion.Cli.Measuring;

/// <summary>Memory of this process as the system sees it.</summary>
internal static class ResidentMemory
{
    private const string Status = "/proc/self/status";
    private const string HighWaterMark = "VmHWM:";

    /// <summary>Most bytes that were resident at once since the process began.</summary>
    public static long PeakBytes()
    {
        string? line = File.Exists(Status) ? File.ReadLines(Status).FirstOrDefault(l => l.StartsWith(HighWaterMark, StringComparison.Ordinal)) : null;
        if (line is not null) return long.Parse(line[HighWaterMark.Length..].Replace("kB", "", StringComparison.Ordinal), NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture) * 1024;
        using Process self = Process.GetCurrentProcess();
        return self.PeakWorkingSet64;
    }
}

using System.Diagnostics;
using System.Globalization;
using LowBitDiffusion.Kernels.Memory;

namespace LowBitDiffusion.Execution;

/// <summary>Memory of this process as the system sees it.</summary>
public static class ProcessMemory
{
    private const string Status = "/proc/self/status", HighWaterMark = "VmHWM:";

    // What loading and drawing add that is neither weights nor activations: machine code, what its compiler keeps, managed memory that comes and goes. docs/performance.md has the measurements.
    private const long Growth = 40L << 20;

    /// <summary>Most bytes that were resident at once since the process began.</summary>
    public static long PeakResidentBytes()
    {
        string? line = File.Exists(Status) ? File.ReadLines(Status).FirstOrDefault(l => l.StartsWith(HighWaterMark, StringComparison.Ordinal)) : null;
        if (line is not null) return long.Parse(line[HighWaterMark.Length..].Replace("kB", "", StringComparison.Ordinal), NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture) * 1024;
        using Process self = Process.GetCurrentProcess();
        return self.PeakWorkingSet64;
    }

    /// <summary>Bytes that the process will take beside the weights and activations of a model: what it has now beside those it has already, and a constant for code that is still to be compiled.</summary>
    public static long RuntimeBytes() => Math.Max(Environment.WorkingSet - NativeBuffer.LiveBytes, 0) + Growth;
}

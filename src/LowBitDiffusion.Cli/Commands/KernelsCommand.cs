using System.CommandLine;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd kernels</c>: every family of kernels and whether it runs here.</summary>
internal sealed class KernelsCommand(Terminal terminal) : CliCommand("kernels", "List the kernels of this build and which of them run here.", terminal)
{
    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples => ["lbd kernels"];

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        List<string[]> rows = [];
        foreach (InstructionSet set in Enum.GetValues<InstructionSet>().Reverse())
        {
            bool available = KernelTable.Available.Contains(set);
            rows.Add(["integer layers", set.ToString(), available ? KernelTable.For(set).QuantizedConv.Name : "", Status(available, KernelTable.Best.InstructionSet == set, KernelTable.Unavailable.GetValueOrDefault(set))]);
        }

        foreach (SimdLevel level in Enum.GetValues<SimdLevel>().Where(level => level != SimdLevel.Auto).Reverse())
            rows.Add(["float", level.ToString(), "", Status(SimdLevels.IsSupported(level), SimdLevels.Best == level, "the processor does not offer it")]);
        Terminal.WriteTable(["work", "instruction set", "kernel", "here"], rows);
        return Task.FromResult(ExitCode.Success);
    }

    private static string Status(bool available, bool best, string? reason) => best ? "chosen" : available ? "available" : $"no: {reason}";
}

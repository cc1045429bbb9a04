using System.CommandLine;
using LowBitDiffusion.Cli.Output;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Numerics;

namespace LowBitDiffusion.Cli.Commands;

/// <summary><c>lbd kernels</c>: every family of kernels and whether it runs here.</summary>
internal sealed class KernelsCommand : CliCommand
{
    private readonly Option<bool> _disassemble = new("--disassemble") { Description = "Print the machine code that is assembled at run time, in words." };

    public KernelsCommand(Terminal terminal) : base("kernels", "List the kernels of this build and which of them run here.", terminal) => Options.Add(_disassemble);

    /// <inheritdoc/>
    public override IReadOnlyList<string> Examples => ["lbd kernels", "lbd kernels --disassemble"];

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        if (parsed.GetValue(_disassemble)) return Task.FromResult(Disassemble());
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

    private int Disassemble()
    {
        InstructionSet best = KernelTable.Best.InstructionSet;
        using Int8Attention attention = new(best);
        using Bf16Attention? bf16 = Bf16Attention.IsSupported ? new Bf16Attention() : null;
        string[] lines = [.. KernelTable.Best.QuantizedConv.Listing, .. attention.Listing, .. bf16?.Listing ?? []];
        if (lines.Length == 0) throw new InvalidRequestException("disassemble", $"expected kernels that are assembled at run time, found {best}: the runtime compiles them");
        foreach (string line in lines) Terminal.Out.WriteLine(line);
        return ExitCode.Success;
    }

    private static string Status(bool available, bool best, string? reason) => best ? "chosen" : available ? "available" : $"no: {reason}";
}

using System.ComponentModel;
using LowBitDiffusion.Kernels.Convolution;

namespace LowBitDiffusion.Kernels.Dispatch;

/// <summary>The one place where an instruction set is turned into kernels.</summary>
public sealed class KernelTable
{
    /// <summary>From the fastest to the slowest, as measured: <c>vpdpbusd</c> on 256 bits beats what 512 bits can do without it.</summary>
    private static readonly InstructionSet[] s_preference =
    [
        InstructionSet.Avx512Vnni, InstructionSet.AvxVnni, InstructionSet.Avx512BW, InstructionSet.Avx2, InstructionSet.Vector128, InstructionSet.Scalar,
    ];

    private static readonly Lazy<Choice> s_choice = new(() => Choose(CpuFeatures.Detect(), Create));

    private KernelTable(InstructionSet set, QuantizedConvKernel quantizedConv)
    {
        InstructionSet = set;
        QuantizedConv = quantizedConv;
    }

    /// <summary>The fastest table this process can run.</summary>
    public static KernelTable Best => s_choice.Value.Tables[0];

    /// <summary>All instruction sets this process can run, the fastest first.</summary>
    public static IReadOnlyList<InstructionSet> Available { get; } = [.. s_choice.Value.Tables.Select(table => table.InstructionSet)];

    /// <summary>Why each of the other instruction sets is not in <see cref="Available"/>.</summary>
    public static IReadOnlyDictionary<InstructionSet, string> Unavailable => s_choice.Value.Reasons;

    /// <summary>What the kernels of this table ask of the processor.</summary>
    public InstructionSet InstructionSet { get; }

    /// <summary>Convolutions and linear layers in integers.</summary>
    public QuantizedConvKernel QuantizedConv { get; }

    /// <summary>The table of one instruction set.</summary>
    /// <exception cref="NotSupportedException">This process cannot run it; the message says why.</exception>
    public static KernelTable For(InstructionSet set)
    {
        foreach (KernelTable table in s_choice.Value.Tables)
        {
            if (table.InstructionSet == set) return table;
        }

        throw new NotSupportedException($"kernels for {set}: {Unavailable[set]}");
    }

    /// <summary>Makes the tables that can be made; a set whose kernels cannot be made, such as for want of executable memory, is left out with the reason.</summary>
    internal static Choice Choose(CpuFeatures features, Func<InstructionSet, QuantizedConvKernel> create)
    {
        List<KernelTable> tables = [];
        Dictionary<InstructionSet, string> reasons = [];
        foreach (InstructionSet set in s_preference)
        {
            if (!features.Supports(set))
            {
                reasons[set] = "the processor, the system or the runtime's settings do not offer it";
                continue;
            }

            try
            {
                tables.Add(new KernelTable(set, create(set)));
            }
            catch (Exception exception) when (exception is Win32Exception or PlatformNotSupportedException)
            {
                reasons[set] = $"the system refuses executable memory: {exception.Message}";
            }
        }

        return new Choice(tables, reasons);
    }

    private static QuantizedConvKernel Create(InstructionSet set) => set switch
    {
        InstructionSet.Vector128 => new Vector128QuantizedConv(),
        InstructionSet.Avx2 => new Avx2QuantizedConv(),
        InstructionSet.AvxVnni => new AvxVnniQuantizedConv(),
        InstructionSet.Avx512BW => new Avx512BWQuantizedConv(),
        InstructionSet.Avx512Vnni => new Avx512VnniQuantizedConv(),
        _ => new ScalarQuantizedConv(),
    };

    /// <summary>What can be used, the fastest first, and why the rest cannot.</summary>
    internal sealed record Choice(IReadOnlyList<KernelTable> Tables, IReadOnlyDictionary<InstructionSet, string> Reasons);
}

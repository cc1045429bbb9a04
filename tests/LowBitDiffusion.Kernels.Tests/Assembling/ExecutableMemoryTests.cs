using System.Globalization;
using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Assembling;

namespace LowBitDiffusion.Kernels.Tests.Assembling;

/// <summary>Code runs, and its pages cannot be written.</summary>
[Category("Kernels")]
[Platform("Linux")]
public sealed unsafe class ExecutableMemoryTests
{
    [Test]
    public void Code_runs_from_pages_that_cannot_be_written()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64) Assert.Ignore("not x64");
        Assembler code = new();
        code.Mov32(Gpr.Rax, 42);
        code.Ret();

        using ExecutableMemory memory = new(code.Finish());

        Assert.That(((delegate* unmanaged<int>)memory.Address)(), Is.EqualTo(42));
        Assert.That(Permissions(memory.Address), Is.EqualTo("r-xp"));
    }

    private static string Permissions(nint address)
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] fields = line.Split(' ', '-');
            long from = long.Parse(fields[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            long to = long.Parse(fields[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            if (address >= from && address < to) return line.Split(' ')[1];
        }

        return "not mapped";
    }
}

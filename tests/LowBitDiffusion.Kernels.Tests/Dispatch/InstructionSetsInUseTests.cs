using LowBitDiffusion.Kernels.Dispatch;

namespace LowBitDiffusion.Kernels.Tests.Dispatch;

/// <summary>The kernel table holds what the process can run, and says why it lacks the rest.</summary>
[Category("Kernels")]
public sealed class InstructionSetsInUseTests
{
    /// <summary>Names the sets that a parent process has switched off, separated by commas.</summary>
    internal const string MissingVariable = "LBD_TEST_MISSING_INSTRUCTION_SETS";

    private static InstructionSet[] All => Enum.GetValues<InstructionSet>();

    [Test]
    public void Sets_switched_off_are_not_used()
    {
        string missing = Environment.GetEnvironmentVariable(MissingVariable) ?? "";
        foreach (string name in missing.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            InstructionSet set = Enum.Parse<InstructionSet>(name);
            Assert.That(KernelTable.Available, Does.Not.Contain(set));
            Assert.That(() => KernelTable.For(set), Throws.TypeOf<NotSupportedException>().With.Message.Contains(name));
        }
    }

    [Test]
    public void Scalar_is_always_there() => Assert.That(KernelTable.For(InstructionSet.Scalar).QuantizedConv.InstructionSet, Is.EqualTo(InstructionSet.Scalar));

    [Test]
    public void Best_is_the_first_available() => Assert.That(KernelTable.Best.InstructionSet, Is.EqualTo(KernelTable.Available[0]));

    [TestCaseSource(nameof(All))]
    public void A_set_is_either_available_or_has_a_reason(InstructionSet set)
    {
        bool available = KernelTable.Available.Contains(set);

        Assert.That(KernelTable.Unavailable.ContainsKey(set), Is.Not.EqualTo(available));
        if (available) Assert.That(KernelTable.For(set).QuantizedConv.InstructionSet, Is.EqualTo(set));
    }
}

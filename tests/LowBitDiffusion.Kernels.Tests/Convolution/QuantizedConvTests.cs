using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Convolution;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.Tests.Convolution;

/// <summary>Every kernel gives the bits of the definition, for every shape and any number of threads.</summary>
[TestFixtureSource(typeof(KernelTable), nameof(KernelTable.Available))]
[Category("Kernels")]
public sealed class QuantizedConvTests(InstructionSet set)
{
    private readonly QuantizedConvKernel _kernel = KernelTable.For(set).QuantizedConv;
    private WorkerPool _pool = null!;

    [OneTimeSetUp]
    public void StartThreads() => _pool = new WorkerPool(2);

    [OneTimeTearDown]
    public void StopThreads() => _pool.Dispose();

    [TestCaseSource(typeof(QuantizedConvCase), nameof(QuantizedConvCase.Table))]
    [TestCaseSource(typeof(QuantizedConvCase), nameof(QuantizedConvCase.Random))]
    public void Equals_the_definition_bit_for_bit(QuantizedConvCase definition)
    {
        QuantizedConvProblem problem = new(definition);

        float[] output = problem.Run(_kernel, _pool);

        AssertSameBits(output, problem.Expected());
    }

    [TestCase(1)]
    [TestCase(3)]
    [TestCase(8)]
    public void Threads_do_not_change_a_bit(int threads)
    {
        QuantizedConvProblem problem = new(new QuantizedConvCase("threads", 40, 70) { Batch = 2, Image = (17, 13), Kernel = (3, 3), Segments = [24, 16] });
        using WorkerPool other = new(threads);

        AssertSameBits(problem.Run(_kernel, other), problem.Run(_kernel, _pool));
    }

    [Test]
    public void Packed_size_is_known_before_packing([Values(CodeRange.Full, CodeRange.FourBit, CodeRange.FourBitWithZeroPoints)] CodeRange codes)
    {
        foreach (QuantizedConvCase definition in QuantizedConvCase.Table().Where(c => c.Codes == codes))
        {
            using PackedWeights weights = new QuantizedConvProblem(definition).Pack(_kernel);
            nuint estimate = _kernel.PackedBytes(definition.Shape, definition.Ranges, fourBit: codes is not CodeRange.Full);
            Assert.That(weights.SizeInBytes, Is.EqualTo(estimate), definition.Name);
        }
    }

    [Test]
    public void A_run_allocates_nothing()
    {
        QuantizedConvProblem problem = new(new QuantizedConvCase("allocation", 16, 16) { Kernel = (3, 3) });
        using PackedWeights weights = problem.Pack(_kernel);
        problem.Run(_kernel, _pool, weights, repeats: 2);

        // The test's own buffers are the same for one call and for many; helpers run the same code as the caller.
        long one = Allocation.Of(() => problem.Run(_kernel, _pool, weights, repeats: 1)), many = Allocation.Of(() => problem.Run(_kernel, _pool, weights, repeats: 101));

        Assert.That(many - one, Is.Zero, "bytes of 100 calls");
    }

    private static void AssertSameBits(float[] found, float[] expected)
    {
        ReadOnlySpan<int> foundBits = MemoryMarshal.Cast<float, int>(found), expectedBits = MemoryMarshal.Cast<float, int>(expected);
        int first = foundBits.CommonPrefixLength(expectedBits);
        if (first == expected.Length) return;
        Assert.Fail($"element {first} of {expected.Length}: found {found[first]:R}, expected {expected[first]:R}");
    }
}

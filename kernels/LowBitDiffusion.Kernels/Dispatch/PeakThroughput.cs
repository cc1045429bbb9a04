using System.Diagnostics;
using LowBitDiffusion.Kernels.Assembling;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.Dispatch;

/// <summary>
/// What the processor could do at most: a loop of <c>vpdpbusd</c> between registers, without any memory. Clocks, neighbours and heat change it, so
/// it is measured in the same run as whatever is compared with it.
/// </summary>
public sealed unsafe class PeakThroughput : IDisposable
{
    private const int Sums = 24;
    private const double OperationsPerRound = Sums * 64 * 2;

    private readonly ExecutableMemory _code;

    private PeakThroughput(ExecutableMemory code) => _code = code;

    /// <summary>Prepares the measurement, or gives null where there are no AVX-512 VNNI kernels.</summary>
    public static PeakThroughput? TryCreate()
    {
        if (!KernelTable.Available.Contains(InstructionSet.Avx512Vnni)) return null;
        Assembler code = new();
        CallingConvention convention = CallingConvention.Current;
        convention.WriteEntry(code, Gpr.R15);
        for (int i = 0; i < Sums; i++) code.Vpxord(new Zmm(i), new Zmm(i), new Zmm(i));
        Label round = code.NewLabel();
        code.Align(64);
        code.Bind(round);
        for (int i = 0; i < Sums; i++) code.Vpdpbusd(new Zmm(i), new Zmm(24 + (i % 4)), new Zmm(28 + (i % 4)));
        code.Dec(new Address(Gpr.R15));
        code.Jump(Condition.NotEqual, round);
        convention.WriteExit(code);
        return new PeakThroughput(new ExecutableMemory(code.Finish()));
    }

    /// <summary>Billions of additions and multiplications a second on all threads of the pool: the best of some short runs.</summary>
    /// <param name="pool">The threads.</param>
    /// <param name="runs">Runs of some 0.2 ms each.</param>
    public double GigaOperationsPerSecond(WorkerPool pool, int runs = 200)
    {
        const int Rounds = 50_000;
        double best = double.MaxValue;
        for (int run = 0; run < runs; run++)
        {
            long start = Stopwatch.GetTimestamp();
            pool.For(pool.Threads, new Loop(_code.Address, Rounds));
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return pool.Threads * Rounds * OperationsPerRound / best / 1e9;
    }

    /// <inheritdoc/>
    public void Dispose() => _code.Dispose();

    private readonly struct Loop(nint code, long rounds) : IParallelBody
    {
        public void Run(int index)
        {
            long left = rounds;
            ((delegate* unmanaged<long*, void>)code)(&left);
        }
    }
}

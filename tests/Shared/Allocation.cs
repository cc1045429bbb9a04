namespace LowBitDiffusion.Tests.Shared;

/// <summary>Managed memory that calls allocate.</summary>
internal static class Allocation
{
    // The first time that a thread really has to wait for another one, the runtime makes objects for it, once.
    private const int Trials = 6;

    /// <summary>Bytes that a call allocates on the calling thread, the least of some trials.</summary>
    public static long Of(Action call)
    {
        long least = long.MaxValue;
        for (int i = 0; i < Trials; i++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            call();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}

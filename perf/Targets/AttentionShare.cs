using System.Diagnostics;
using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Targets;

/// <summary>Attention in integers alone, of the register peak of the same run, softmax included.</summary>
internal static unsafe class AttentionShare
{
    private const int Heads = 8, Tokens = 4096, Width = 40, Calls = 40;

    /// <summary>The fastest of some calls, with the peak measured before each.</summary>
    public static double Measure(int threads)
    {
        using PeakThroughput? peak = PeakThroughput.TryCreate();
        if (peak is null) return 0;
        using WorkerPool pool = new(threads);
        using NativeBuffer values = new((nuint)(4L * Tokens * Heads * Width * sizeof(float)));
        float* first = (float*)values.Pointer;
        nint length = (nint)Tokens * Heads * Width;
        Random random = new(0);
        for (nint i = 0; i < 3 * length; i++) first[i] = (random.NextSingle() - 0.5f) * 3.4f;
        AttentionJob job = new()
        {
            Batch = 1,
            Heads = Heads,
            Queries = Tokens,
            Keys = Tokens,
            HeadWidth = Width,
            ValueWidth = Width,
            Query = new(first, Heads * Width),
            Key = new(first + length, Heads * Width),
            Value = new(first + (2 * length), Heads * Width),
            Output = new(first + (3 * length), Heads * Width),
            Scale = 1 / MathF.Sqrt(Width),
        };
        using Int8Attention attention = new(KernelTable.Best.InstructionSet);
        using NativeBuffer scratch = new((nuint)Int8Attention.ScratchBytes(job, threads));
        double best = double.MaxValue, gigaOperations = 0;
        for (int call = 0; call < Calls; call++)
        {
            gigaOperations = Math.Max(gigaOperations, peak.GigaOperationsPerSecond(pool, 20));
            long start = Stopwatch.GetTimestamp();
            attention.Run(pool, job, scratch.Pointer);
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return 4.0 * Heads * Tokens * Tokens * Width / best / 1e9 / gigaOperations;
    }
}

using LowBitDiffusion.Kernels.Attention;
using LowBitDiffusion.Kernels.Dispatch;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.OpenCL.Devices;
using LowBitDiffusion.Kernels.OpenCL.Families;
using LowBitDiffusion.Kernels.Threading;

namespace LowBitDiffusion.Kernels.OpenCL.Checking;

/// <summary>A small attention in integers whose codes are the ends of their ranges, against the processor's scalar kernel.</summary>
internal static unsafe class AttentionCase
{
    // Two blocks of keys, of which the second fills no word; channels that fill no word.
    private const int Heads = 2, Queries = 3, Keys = 147, Width = 6, ValueWidth = 5;

    /// <summary>Where divisions do not round correctly a code may be the next one; a product that is added wrongly is further off.</summary>
    private const float Bound = 0.05f;

    /// <summary>Runs it and says what is wrong, or null.</summary>
    public static string? Fault(DeviceQueue queue, KernelChoice choice)
    {
        float[] query = Numbers(Queries * Heads * Width, 3), key = Numbers(Keys * Heads * Width, 5), value = Numbers(Keys * Heads * ValueWidth, 7), expected = new float[Queries * Heads * ValueWidth];
        AttentionJob shape = new() { Batch = 1, Heads = Heads, Queries = Queries, Keys = Keys, HeadWidth = Width, ValueWidth = ValueWidth, Scale = 0.3f };
        using (WorkerPool pool = new(1))
        using (Int8Attention kernel = new(InstructionSet.Scalar))
        using (NativeBuffer scratch = new((nuint)Int8Attention.ScratchBytes(shape, 1)))
        fixed (float* q = query, k = key, v = value, o = expected)
        {
            AttentionJob job = shape;
            (job.Query, job.Key, job.Value, job.Output) = (new RowView(q, Heads * Width), new RowView(k, Heads * Width), new RowView(v, Heads * ValueWidth), new RowView(o, Heads * ValueWidth));
            kernel.Run(pool, job, scratch.Pointer);
        }

        using DeviceArena arena = new(queue.Context);
        DeviceAttention attention = new()
        {
            Query = new(arena.Put<float>(queue, query), Heads * Width, Heads * Width),
            Key = new(arena.Put<float>(queue, key), Heads * Width, Heads * Width),
            Value = new(arena.Put<float>(queue, value), Heads * ValueWidth, Heads * ValueWidth),
            Output = new(arena.Take(expected.Length * sizeof(float)), Heads * ValueWidth, Heads * ValueWidth),
            Batch = 1,
            Heads = Heads,
            Queries = Queries,
            Keys = Keys,
            HeadWidth = Width,
            ValueWidth = ValueWidth,
            Scale = shape.Scale,
        };
        PackedAttention.Enqueue(queue, choice.Dot, attention, arena.Take(PackedAttention.ScratchBytes(attention, bf16: false)), bf16: false);
        float[] found = queue.Download<float>(attention.Output.Place, expected.Length);
        for (int i = 0; i < found.Length; i++)
        {
            bool agrees = queue.Context.Device.DividesCorrectly ? BitConverter.SingleToInt32Bits(found[i]) == BitConverter.SingleToInt32Bits(expected[i]) : Math.Abs(found[i] - expected[i]) <= Bound;
            if (!agrees) return FormattableString.Invariant($"attention in integers: number {i} is {found[i]:R}, the definition gives {expected[i]:R}");
        }

        return null;
    }

    // Mostly ±1, in an order without a short period.
    private static float[] Numbers(int count, int step) => [.. Enumerable.Range(0, count).Select(i => i % step == 0 ? 0.01f * (i % 90) : ((i * 2654435761L) >> 13) % 2 == 0 ? 1f : -1f)];
}

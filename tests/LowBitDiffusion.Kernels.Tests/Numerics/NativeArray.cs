using System.Runtime.InteropServices;
using LowBitDiffusion.Kernels.Memory;
using LowBitDiffusion.Kernels.Numerics;
using LowBitDiffusion.Kernels.Threading;
using LowBitDiffusion.Tests.Shared;

namespace LowBitDiffusion.Kernels.Tests.Numerics;

/// <summary>Native memory with the view of an array; fresh memory holds a value that no test expects.</summary>
internal sealed unsafe class NativeArray<T> : IDisposable where T : unmanaged
{
    private readonly NativeBuffer _buffer;

    public NativeArray(int length, T fill = default)
    {
        _buffer = new NativeBuffer((nuint)length * (nuint)sizeof(T));
        Length = length;
        Span.Fill(fill);
    }

    public NativeArray(ReadOnlySpan<T> data) : this(data.Length) => data.CopyTo(Span);

    public int Length { get; }

    public T* Pointer => (T*)_buffer.Pointer;

    public Span<T> Span => new(Pointer, Length);

    /// <summary>The bits, for comparing without tolerance.</summary>
    public byte[] Bytes => MemoryMarshal.AsBytes(Span).ToArray();

    public T[] ToArray() => Span.ToArray();

    public void Dispose() => _buffer.Dispose();
}

internal static unsafe class NativeArrays
{
    public static RowView Rows(this NativeArray<float> array, int stride, int first = 0) => new(array.Pointer + first, stride);

    /// <summary>Reproducible numbers, roughly normal.</summary>
    public static float[] Normal(int length, int seed, double scale = 1)
    {
        Random random = new(seed);
        float[] values = new float[length];
        for (int i = 0; i < length; i++) values[i] = (float)(scale * (random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 2);
        return values;
    }

    public static NativeArray<float> Random(int length, int seed, double scale = 1) => new(Normal(length, seed, scale));

    /// <summary>Asserts that a call allocates nothing on the managed heap.</summary>
    public static void AllocatesNothing(Action call) => Assert.That(Allocation.Of(call), Is.Zero, "bytes allocated by a call");

    /// <summary>Runs a computation at every supported level and with 1, 2 and 3 threads, and asserts that all give the bytes of the first.</summary>
    public static void SameBytes(Func<WorkerPool, SimdLevel, byte[]> compute)
    {
        using WorkerPool one = new(1), two = new(2), three = new(3);
        byte[]? reference = null;
        foreach (SimdLevel level in SimdLevels.Supported)
        {
            reference ??= compute(one, level);
            foreach (WorkerPool pool in new[] { one, two, three })
            {
                byte[] found = compute(pool, level);
                Assert.That(found.AsSpan().CommonPrefixLength(reference), Is.EqualTo(reference.Length), $"first byte that differs at {level} with {pool.Threads} threads");
            }
        }
    }
}
